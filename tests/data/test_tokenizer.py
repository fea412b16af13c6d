import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_fast.data.tokenizer import (
    SPECIAL_TOKENS,
    Tokenizer,
    load_vocabulary,
    train_vocabulary,
)
from vlp_fast.errors import InputError

WORDS = ("a", "red", "##s", "circle", "sur", "##f", "##ing", "cafe", "'", ",", "[unused0]")
TINY = Tokenizer((*SPECIAL_TOKENS, *WORDS))


def id_of(token: str) -> int:
    return (*SPECIAL_TOKENS, *WORDS).index(token)


def test_encode_splits_into_the_longest_known_pieces() -> None:
    ids = TINY.encode("A red, Surfing CAFÉ's", 64)
    pieces = ("a", "red", ",", "sur", "##f", "##ing", "cafe", "'", "[UNK]")
    assert ids == [TINY.cls_id, *map(id_of, pieces[:-1]), TINY.unk_id, TINY.sep_id]


def test_words_are_numbered_as_split_gives_them() -> None:
    ids, word_of = TINY.encode_words("a red,  surfing\ncafe's", 64)
    assert len(ids) == len(word_of)
    assert word_of == [-1, 0, 1, 1, 2, 2, 2, 3, 3, 3, -1]


def test_cut_texts_keep_cls_and_sep() -> None:
    assert TINY.encode("red red red red", 4) == [2, id_of("red"), id_of("red"), 3]
    assert TINY.encode("red", 2) == [2, 3]
    assert TINY.encode("", 9) == [2, 3]
    with pytest.raises(ValueError, match="received max_length=1"):
        TINY.encode("red", 1)


def test_special_tokens_in_a_text_are_only_text() -> None:
    assert TINY.mask_id not in TINY.encode("[MASK] [SEP] [CLS]", 64)
    assert TINY.encode("[SEP]", 64).count(TINY.sep_id) == 1


def test_decode_joins_pieces_and_leaves_out_special_tokens() -> None:
    assert TINY.decode(TINY.encode("a surfing circle", 64)) == "a surfing circle"
    assert TINY.decode([0, 2, id_of("red"), id_of("##s"), 3, 0, 0]) == "reds"


def test_ordinary_ids_are_what_stands_for_text() -> None:
    assert TINY.special_ids == {0, 1, 2, 3, 4}
    assert TINY.ordinary_ids.tolist() == [id_of(w) for w in WORDS if w != "[unused0]"]


@given(st.text(max_size=400), st.integers(2, 20))
def test_any_text_gives_ids_in_range_and_within_the_length(text: str, length: int) -> None:
    ids = TINY.encode(text.encode("utf-8", "replace").decode(), length)
    assert 2 <= len(ids) <= length
    assert (ids[0], ids[-1]) == (TINY.cls_id, TINY.sep_id)
    assert not TINY.special_ids - {TINY.unk_id} & set(ids[1:-1])


@given(st.lists(st.sampled_from(["red", "surfing", "a,a", "x" * 150, "'" * 30]), max_size=40))
def test_cutting_before_tokenising_changes_nothing(words: list[str]) -> None:
    long = TINY.encode(" ".join(words), 4000)
    assert TINY.encode(" ".join(words), 12)[:-1] == long[:-1][:11]


@pytest.mark.parametrize(
    "text", ["word " * 10**4, "x" * 10**6, "." * 10**6, "a" * 99 + " " * 10**6]
)
def test_enormous_texts_are_cut_quickly(text: str) -> None:
    start = time.perf_counter()
    assert len(TINY.encode(text, 64)) <= 64
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("missing", SPECIAL_TOKENS)
def test_a_vocabulary_without_a_special_token_is_named(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(t for t in (*SPECIAL_TOKENS, "a") if t != missing))
    with pytest.raises(InputError) as caught:
        load_vocabulary(path)
    assert str(path) in str(caught.value)
    assert missing in str(caught.value)


def test_other_bad_vocabularies_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "twice.txt").write_text("\n".join((*SPECIAL_TOKENS, "dog", "dog")))
    for name, reason in (
        ("absent.txt", "No such file"),
        ("bytes.txt", "not UTF-8"),
        ("twice.txt", "'dog' twice"),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            load_vocabulary(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n\n"])
def test_marks_and_ends_of_lines_are_no_part_of_a_token(
    tmp_path: Path, mark: bytes, end: str, last: str
) -> None:
    """What other characters split a line elsewhere are characters here."""
    tokens = (*SPECIAL_TOKENS, "a", "\u2028", "b\x85", "\x0b", "\x0c", "\x1c")
    text = end.join(tokens) + last.replace("\n", end)
    (tmp_path / "vocab.txt").write_bytes(mark + text.encode())
    assert load_vocabulary(tmp_path / "vocab.txt").vocabulary == tokens


def test_a_blank_line_between_tokens_is_told(tmp_path: Path) -> None:
    """Left out, it would move the ids of all that follow; kept, it would be a token."""
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join((*SPECIAL_TOKENS, "a", "", "b")))
    with pytest.raises(InputError, match=r"vocab\.txt, line 7: is blank"):
        load_vocabulary(path)


@pytest.mark.parametrize("text", ["\u200b", "\u200b \ufeff", "\u00ad", "\x07", "\u202e\u2066"])
def test_texts_of_nothing_visible_have_no_tokens(text: str) -> None:
    trained = train_vocabulary([text, "a red circle"], 60)
    assert trained.vocabulary == train_vocabulary(["a red circle"], 60).vocabulary
    ids, words = trained.encode_words(text, 9)
    assert (ids, words) == ([trained.cls_id, trained.sep_id], [-1, -1])
    assert trained.decode(ids) == ""
    only = train_vocabulary([text], 60)
    assert only.vocabulary == SPECIAL_TOKENS
    assert only.encode(text, 9) == [only.cls_id, only.sep_id]


def test_saving_and_loading_keep_the_ids(tmp_path: Path) -> None:
    trained = train_vocabulary(["a line\u2028separator", "two  words", "two words"], 100)
    trained.save(tmp_path / "vocab.txt")
    again = load_vocabulary(tmp_path / "vocab.txt")
    assert again.vocabulary == trained.vocabulary
    assert again.encode("two separators", 9) == trained.encode("two separators", 9)
    assert pickle.loads(pickle.dumps(again)).encode("two", 9) == again.encode("two", 9)


def test_training_joins_frequent_pieces_and_knows_every_character() -> None:
    tokenizer = train_vocabulary(["the zebra", "the zoo", "the quilt"] * 3, 60)
    assert tokenizer.vocabulary[:5] == SPECIAL_TOKENS
    assert "the" in tokenizer.vocabulary
    ids = tokenizer.encode("quzelt", 64)
    assert tokenizer.unk_id not in ids
    assert tokenizer.decode(ids) == "quzelt"
    assert tokenizer.vocab_size <= 60


def test_words_too_long_to_encode_are_not_trained_on() -> None:
    captions = ["the zebra", "the zoo"] * 3
    longest, longer = "q" * 100, "qx" * 51
    left_out = train_vocabulary([*captions, f"the {longer}, {longer}"], 60)
    assert left_out.vocabulary == train_vocabulary([*captions, "the ,"], 60).vocabulary
    assert "##q" in train_vocabulary([*captions, longest], 60).vocabulary


def test_training_is_the_same_in_every_process(shared_data: Path) -> None:
    """The library's hash maps differ between processes, hence more than one."""
    program = (
        "import sys, json, hashlib; from vlp_fast.data.tokenizer import train_vocabulary;"
        "d = json.load(open(sys.argv[1]));"
        "t = train_vocabulary([a['caption'] for a in d['annotations'][:4000]], 1500);"
        "print(hashlib.sha256(chr(10).join(t.vocabulary).encode()).hexdigest())"
    )
    path = shared_data / "coco" / "captions_val2017.json"
    command = [sys.executable, "-c", program, str(path)]
    digests = {subprocess.check_output(command, text=True) for _ in range(3)}
    assert len(digests) == 1


def test_bert_vocabulary_gives_bert_ids(shared_data: Path) -> None:
    """Ids that BERT's own tokenizer documents for this sentence."""
    bert = load_vocabulary(shared_data / "vocab" / "bert-base-uncased-vocab.txt")
    assert bert.vocab_size == 30522
    assert bert.encode("Hello, my dog is cute", 64) == [
        101, 7592, 1010, 2026, 3899, 2003, 10140, 102,
    ]  # fmt: skip
    assert (bert.pad_id, bert.unk_id, bert.cls_id, bert.sep_id, bert.mask_id) == (
        *(0, 100, 101, 102),
        103,
    )
    assert len(bert.ordinary_ids) == 30522 - 5 - 994
