"""WordPiece as BERT has it: lower case, accents stripped, punctuation split.

A vocabulary is either given (any BERT `vocab.txt`) or trained on the captions of the data, and
is kept as the same kind of file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from vlp_fast.data.detokenizer import detokenised
from vlp_fast.errors import InputError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 100
"""Characters; WordPiece maps longer words to [UNK]."""


class Tokenizer:
    """Text to ids `[CLS] .. [SEP]` and back, by the `tokenizers` library.

    Args:
        vocabulary: tokens in the order of their ids, the five special tokens among them.

    Attributes:
        vocab_size: number of ids.
        pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.
        special_ids: the five as a set.
        ordinary_ids: (n,) int64, ids that stand for text: not special, not BERT's "[unused..]".
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        ids = {token: index for index, token in enumerate(vocabulary)}
        self._check(vocabulary, ids)
        self._backend = _backend(ids)
        self.vocabulary = tuple(vocabulary)
        self.vocab_size = len(vocabulary)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            ids[token] for token in SPECIAL_TOKENS
        )
        self.special_ids = frozenset(ids[token] for token in SPECIAL_TOKENS)
        self.ordinary_ids = np.array(
            [i for token, i in ids.items() if not (token.startswith("[") and token.endswith("]"))],
            dtype=np.int64,
        )

    def encode(self, text: str, max_length: int) -> list[int]:
        """Return the ids of `[CLS] text [SEP]`, cut to `max_length` (the [SEP] is kept).

        Raises:
            ValueError: if `max_length` leaves no room for the two special tokens.
        """
        return self.encode_words(text, max_length)[0]

    def encode_words(self, text: str, max_length: int) -> tuple[list[int], list[int]]:
        """Return the ids as `encode` does, and the word that each token is a piece of.

        Words are what `text.split()` gives, counted from 0; [CLS] and [SEP] have -1.
        """
        if max_length < 2:
            raise ValueError(
                f"Tokenizer.encode: received max_length={max_length}, expected at least 2: "
                "[CLS] and [SEP] take one token each"
            )
        words = _bounded_words(text, max_length)
        encoding = self._backend.encode(words, is_pretokenized=True, add_special_tokens=False)
        ids = encoding.ids[: max_length - 2]
        word_of = [int(word or 0) for word in encoding.word_ids[: max_length - 2]]
        return [self.cls_id, *ids, self.sep_id], [-1, *word_of, -1]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids: pieces joined, special tokens left out."""
        return str(self._backend.decode([i for i in ids if i not in self.special_ids]))

    def caption(self, ids: Iterable[int]) -> str:
        """Return the ids up to the first [SEP] as people would write them, without special tokens.

        Example: of "a man ' s t - shirt ." it is "a man's t-shirt.", which `decode` leaves apart.
        """
        until_end = takewhile(lambda token: token != self.sep_id, ids)
        return detokenised(self.vocabulary[i] for i in until_end if i not in self.special_ids)

    def save(self, path: Path) -> None:
        """Write the vocabulary as `vocab.txt`: a token a line, in the order of the ids."""
        path.write_text("".join(f"{token}\n" for token in self.vocabulary), encoding="utf-8")

    @staticmethod
    def _check(vocabulary: Sequence[str], ids: dict[str, int]) -> None:
        missing = [token for token in SPECIAL_TOKENS if token not in ids]
        if missing:
            raise InputError(
                f"the vocabulary has no {', '.join(missing)}; add a line for each, or give none "
                "to have one trained on the captions"
            )
        if len(ids) != len(vocabulary):
            double = next(t for i, t in enumerate(vocabulary) if ids[t] != i)
            raise InputError(f"the vocabulary has the token {double!r} twice; remove one")


def load_vocabulary(path: Path) -> Tokenizer:
    """Read a `vocab.txt`, a token a line.

    Raises:
        InputError: if the file is missing, is not text, has blank lines between others, or lacks
            a special token.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a WordPiece vocab.txt") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; expected a WordPiece vocab.txt") from None
    # Not splitlines(): it would also split at separators such as U+2028 inside a token.
    lines = text.rstrip("\n").split("\n")
    if "" in lines:
        raise InputError(
            f"{path}, line {lines.index('') + 1}: is blank, but each line is a token, whose id is "
            "its number; repair the file"
        )
    try:
        return Tokenizer(lines)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def train_vocabulary(captions: Iterable[str], size: int) -> Tokenizer:
    """Train WordPiece on captions: the same captions give the same vocabulary.

    Args:
        captions: the texts; words longer than `LONGEST_WORD`, which no text is encoded with, are
            left out.
        size: upper bound of the vocabulary; less where the captions have fewer pieces. The
            special tokens and the single characters are kept whatever the bound.
    """
    backend = _backend({token: i for i, token in enumerate(SPECIAL_TOKENS)})
    normalise, split = backend.normalizer, backend.pre_tokenizer
    counts: dict[str, int] = {}
    for caption in captions:
        for word, _ in split.pre_tokenize_str(normalise.normalize_str(caption)):
            if len(word) <= LONGEST_WORD:
                counts[word] = counts.get(word, 0) + 1
    characters = sorted({character for word in counts for character in word})
    continued = [f"##{character}" for character in characters]
    return Tokenizer(_train(counts, [*SPECIAL_TOKENS, *characters, *continued], size))


def _train(counts: dict[str, int], first: list[str], size: int) -> list[str]:
    """Merge frequent pieces; `first` are the tokens with the lowest ids.

    The library numbers continued characters in the order of a hash map, which differs from
    process to process, and breaks ties by those numbers. Naming all characters beforehand fixes
    the numbers, hence the result.
    """
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(size, len(first)),
        min_frequency=2,
        special_tokens=first,
        show_progress=False,
    )
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words = (word for word, count in sorted(counts.items()) for _ in range(count))
    backend.train_from_iterator(words, trainer)
    ids = backend.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def _backend(ids: dict[str, int]) -> tokenizers.Tokenizer:
    model = models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _bounded_words(text: str, max_length: int) -> list[str]:
    """Cut before tokenising: the first `max_length` words fill `max_length` tokens.

    A word is cut where it has more characters than that many pieces can span.
    """
    words = text.split(None, max_length)[:max_length]
    span = (max_length + 1) * (LONGEST_WORD + 1)
    return [word[:span] for word in words]
