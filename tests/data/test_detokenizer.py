"""Captions as people write them: their marks where they were before WordPiece split them off."""

import json
from pathlib import Path

import pytest

from vlp_fast.data.detokenizer import detokenised
from vlp_fast.data.tokenizer import SPECIAL_TOKENS, Tokenizer, load_vocabulary, train_vocabulary
from vlp_fast.metrics.caption.ptb_tokenizer import tokenised

WRITTEN = """
a man's dog isn't here, is it?
two dogs' tails, james' hat and the kids' toys
they're here, we've seen it, i'll go, i'm sure he'd come
it is 10:30 p.m. on 5/6/2007
3.5 miles, 1,000 people; 50% off for $5!
dogs, cats, 5, 2 and 3
rock 'n' roll and mac 'n' cheese
ma'am, it's 5 o'clock, y'all
the sign says "stop" and 'go' and "wait".
a 5'11" man and a 6" sub
'90s style, get 'em 'til 9
s'mores and hors d'oeuvres
black/white and/or red t-shirts, x-ray-like
a (very) tall man [left] of {it}
wait... what?! no!!
one -- two
e.g. the u.s. army at 3 a.m.
the #1 team
a : b
'
""".strip().split("\n")


def wordpieces(text: str) -> list[str]:
    """Every mark by itself, words of more than three letters in two pieces."""
    tokens: list[str] = []
    for word in text.split():
        begun = False
        for character in word:
            if character.isalnum() and begun:
                tokens[-1] += character
            else:
                tokens.append(character)
            begun = character.isalnum()
    return [
        piece for t in tokens for piece in ([t[:3], f"##{t[3:]}"] if len(t) > 3 else [t]) if piece
    ]


@pytest.mark.parametrize("text", WRITTEN)
def test_marks_are_put_back(text: str) -> None:
    expected = {"a : b": "a: b"}.get(text, text)
    assert detokenised(wordpieces(text)) == expected


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([], ""),
        (["##s"], "##s"),
        (["##"], "##"),
        (["a", "##b", "##", "c"], "ab ## c"),
        (["-"], "-"),
        (["a", "-"], "a -"),
        (["'", "s"], "'s"),
        ([",", "a"], ", a"),
        (["(", ")"], "()"),
        (['"', '"', '"'], '"" "'),
    ],
)
def test_odd_tokens(tokens: list[str], text: str) -> None:
    assert detokenised(tokens) == text


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_real_captions_come_back(shared_data: Path, step: int) -> None:
    document = json.loads((shared_data / "coco/captions_val2017.json").read_bytes())
    entries = document["annotations"][::step]
    captions = [" ".join(entry["caption"].split()) for entry in entries]
    tokenizer = load_vocabulary(shared_data / "vocab/bert-base-uncased-vocab.txt")
    ids = [tokenizer.encode(caption, 300) for caption in captions]
    wanted = [tokenised(caption) for caption in captions]
    same = [
        tokenised(tokenizer.caption(row)) == tokens for row, tokens in zip(ids, wanted, strict=True)
    ]
    assert sum(same) / len(same) >= 0.999
    # Those of which nothing else is done are not as many, so the rules are what is measured.
    plain = [tokenised(tokenizer.decode(row)) == t for row, t in zip(ids, wanted, strict=True)]
    assert sum(plain) / len(plain) < 0.995


def test_a_caption_ends_at_its_end() -> None:
    tokenizer = train_vocabulary(["a man's t-shirt"], 100)
    ids = tokenizer.encode("a man's t-shirt", 30)
    after = [tokenizer.sep_id, *ids, tokenizer.pad_id]
    assert tokenizer.caption([*ids[:-1], tokenizer.pad_id, *after]) == "a man's t-shirt"
    assert tokenizer.caption(ids[1:-1]) == "a man's t-shirt"
    assert tokenizer.caption([]) == tokenizer.caption([tokenizer.sep_id, *ids]) == ""


def test_unknown_tokens_are_left_out() -> None:
    tokenizer = Tokenizer([*SPECIAL_TOKENS, "a", "dog"])
    assert tokenizer.caption(tokenizer.encode("a zebra dog", 9)) == "a dog"
