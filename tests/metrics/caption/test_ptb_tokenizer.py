"""Tokens as Stanford's tokeniser has them, whose output on these lines was recorded."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from vlp_fast.metrics.caption import ptb_tokenizer
from vlp_fast.metrics.caption.ptb_tokenizer import tokenised

GOLDEN = [
    line.split("\t")
    for line in Path(__file__).with_name("ptb_golden.tsv").read_text(encoding="utf-8").split("\n")
    if line
]
# SHA-256 of the recorded tokens of the 13,986 captions, a thousand at a time.
OFFICIAL = [
    "c56227fb5ad67453",
    "428c92ec531850cf",
    "c8a190ba79b58e00",
    "7aed12ea1acdf63e",
    "9593f406ab55d153",
    "6e9824749e7bb098",
    "b444d7b362beae58",
    "0a3d22b3196b8bcf",
    "e0d48c7ad4b375cb",
    "eea3fb0c4f52b1b8",
    "41fab6a9ec7f8778",
    "2c45e3da2dd845a3",
    "efed41659a08943d",
    "78c96296814bb5b6",
]


def captions_of(shared_data: Path) -> list[str]:
    document = json.loads((shared_data / "coco/captions_val2017.json").read_bytes())
    return [entry["caption"] for entry in document["annotations"]]


@pytest.mark.parametrize(("caption", "tokens"), GOLDEN, ids=[caption for caption, _ in GOLDEN])
def test_tokens_are_those_of_the_official_tokeniser(caption: str, tokens: str) -> None:
    assert tokenised(caption) == tokens


def test_all_real_captions_have_the_official_tokens(shared_data: Path) -> None:
    tokens = [tokenised(caption) for caption in captions_of(shared_data)]
    parts = ["\n".join(tokens[i : i + 1000]) for i in range(0, len(tokens), 1000)]
    assert [hashlib.sha256(part.encode()).hexdigest()[:16] for part in parts] == OFFICIAL


def test_captions_and_references_of_other_images(shared_data: Path) -> None:
    oracle = json.loads((shared_data / "metrics/caption_fakecap_x_val2017.json").read_bytes())
    for kind in ("gts", "res"):
        for image, texts in oracle[f"{kind}_raw"].items():
            assert [tokenised(text) for text in texts] == oracle[f"{kind}_tokenized"][image]


def test_shortcuts_change_nothing(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = captions_of(shared_data)[::40] + [caption for caption, _ in GOLDEN]
    captions += ["no. 5", "a mr. b", "a mr.", "see no.", "the mass.", "a,5 b", "I, a"]
    expected = [tokenised(caption) for caption in captions]
    monkeypatch.setattr(ptb_tokenizer, "_WORD", re.compile("(?!)"))
    monkeypatch.setattr(ptb_tokenizer, "_LAST_WORD", re.compile("(?!)"))
    monkeypatch.setattr(ptb_tokenizer, "_GAP", re.compile(r"\s+"))
    assert [tokenised(caption) for caption in captions] == expected


@pytest.mark.parametrize("mark", ["\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029", "\t"])
def test_no_line_break_makes_two_captions_of_one(mark: str) -> None:
    """The official tokeniser shifts all later captions to other images there."""
    assert tokenised(f"a man{mark}on a horse.") == "a man on a horse"
    assert tokenised(f"{mark}a man{mark}") == "a man"


def test_nothing_remains_of_nothing() -> None:
    for caption in ("", " ", " . , - -- ... ' ` \" ", "\u2026 \u2014", "\u200b\U0001f600\xad"):
        assert tokenised(caption) == ""


def test_a_mixed_number_is_one_token() -> None:
    assert tokenised("add 3 1/2 cups").split(" ") == ["add", "3\xa01/2", "cups"]
