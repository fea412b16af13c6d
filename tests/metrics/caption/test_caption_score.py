"""Captions of a split: refused where images lack, and never without what the figures are of."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_fast.errors import InputError
from vlp_fast.metrics.caption.caption_score import CaptionScore, judge
from vlp_fast.metrics.caption.corpus import Corpus, Judged
from vlp_fast.metrics.caption.ptb_tokenizer import tokenised
from vlp_fast.metrics.example_set import set_hash
from vlp_fast.metrics.score import Score

ROOT = Path(__file__).parents[3]
TEXTS = {
    7: ("a man's horse.", ["A man's horse stands here.", "The horse of a man"]),
    3: ("two dogs", ["Two dogs play.", "dogs!", "A dog and a dog"]),
    2**40: ("A red bus, parked", ["a red bus parked on the road"]),
    5: ("", ["an empty street"]),
}
CIDER = "cider"


def filled(keys: list[int], score: CaptionScore | None = None) -> CaptionScore:
    score = score or CaptionScore("toy test", list(TEXTS))
    for key in keys:
        score.add(key, *TEXTS[key])
    return score


def test_figures_are_percent_of_the_metrics_on_tokens() -> None:
    judged = filled(list(TEXTS)).judged()
    corpus = Corpus(
        [tokenised(caption) for caption, _ in TEXTS.values()],
        [[tokenised(text) for text in texts] for _, texts in TEXTS.values()],
    )
    expected = judge(corpus)
    assert list(judged.figures) == ["cider", "bleu 1", "bleu 2", "bleu 3", "bleu 4", "rouge l"]
    assert judged.figures == {name: 100 * found.corpus for name, found in expected.items()}
    for place, key in enumerate(TEXTS):
        for name, found in expected.items():
            assert judged.by_image[key][name] == 100 * found.images[place]
    assert 0 < judged.figures["bleu 4"] < judged.figures["bleu 1"] < 100


def test_what_takes_any_score_takes_that_of_captions() -> None:
    score: Score = filled([7, 3], CaptionScore("toy test", list(TEXTS), is_part=True))
    assert isinstance(score, Score)
    assert score.examples.count == 2
    assert list(score.figures()) == [CIDER, "bleu 1", "bleu 2", "bleu 3", "bleu 4", "rouge l"]


def test_what_the_figures_are_of_is_said() -> None:
    judged = filled(list(TEXTS)).judged()
    digest = set_hash(TEXTS)
    assert (judged.images, judged.split_images, judged.references) == (4, 4, 7)
    assert judged.described() == f"toy test, 4 images, 7 references, set {digest}, PTB tokens"
    part = filled([7, 3], CaptionScore("toy test", list(TEXTS), is_part=True)).judged()
    assert part.described() == (
        f"toy test, 2 of 4 images, 5 references, set {set_hash([7, 3])}, PTB tokens"
    )
    assert part.figures[CIDER] != judged.figures[CIDER]


def test_a_split_without_images_has_no_figures() -> None:
    with pytest.raises(InputError, match="nothing: 0 of 0 images have no caption"):
        CaptionScore("nothing", []).judged()


@pytest.mark.parametrize("is_part", [False, True])
def test_a_part_is_refused_unless_asked_for(is_part: bool) -> None:
    score = CaptionScore("toy test", list(TEXTS), is_part=is_part)
    assert score.figures() == {}
    with pytest.raises(InputError, match="toy test: 4 of 4 images have no caption, the first is 7"):
        score.judged()
    filled([7, 5], score)
    if is_part:
        assert score.judged().by_image.keys() == {7, 5}
    else:
        for judge_it in (score.judged, score.figures):
            with pytest.raises(InputError, match=r"2 of 4 .*, the first is 3; caption all, or ask"):
                judge_it()


def test_neither_order_nor_processes_change_figures() -> None:
    words = [f"w{n % 7} w{n % 5} w{n % 3} w{n % 2}" for n in range(60)]
    shares = []
    for keys in (range(60), [*range(59, 20, -1), *range(21)], [*range(1, 60, 2), *range(0, 60, 2)]):
        first, second = (CaptionScore("toy test", range(60)) for _ in range(2))
        for place, key in enumerate(keys):
            (first if place < 17 else second).add(key, words[key], words[key // 2 : key // 2 + 4])
        first.merge(second)
        shares.append(first.judged())
        with pytest.raises(ValueError, match=r"merge: received image \d+ twice"):
            first.merge(second)
    assert shares[0].images == 60
    for other in shares[1:]:
        assert (other.figures, other.by_image) == (shares[0].figures, shares[0].by_image)
        assert list(other.by_image) == list(range(60))
        assert (other.hash, other.references) == (shares[0].hash, 240)


@pytest.mark.parametrize(
    ("key", "references", "expected"),
    [
        (8, ["a"], "image 8, which is not of the split"),
        (7, ["a"], "image 7, which has a caption already"),
        (3, [], "image 3, which has no reference"),
    ],
)
def test_images_that_cannot_be_counted(key: int, references: list[str], expected: str) -> None:
    score = filled([7])
    with pytest.raises(ValueError, match=expected):
        score.add(key, "a", references)
    assert score.examples.count == 1


def test_metrics_of_others_are_counted_too() -> None:
    def words(corpus: Corpus) -> Judged:
        lengths = np.array([len(text.split()) for text in corpus.candidates]) / 100
        return Judged(float(lengths.sum()), lengths)

    judged = filled(
        list(TEXTS), CaptionScore("toy test", list(TEXTS), more={"words": words})
    ).judged()
    assert list(judged.figures)[-1] == "words"
    assert judged.figures["words"] == pytest.approx(10)
    assert judged.by_image[2**40]["words"] == pytest.approx(4)


def test_the_snippet_of_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/downstream.md").read_text()
    (snippet,) = re.findall(r"^```python\n(.*?CaptionScore.*?)^```$", page, re.S | re.M)
    names: dict[str, Any] = {}
    exec(compile(snippet, "snippet", "exec"), names)
    printed = capsys.readouterr().out
    assert printed.startswith("my split, 2 images, 3 references, set ")
    assert list(names["judged"].figures)[:2] == ["cider", "bleu 1"]


@pytest.mark.exhaustive
def test_all_real_captions_score_as_by_the_official_code(shared_data: Path) -> None:
    """The first caption of each image against its others; values that the Java tokens gave."""
    document = json.loads((shared_data / "coco/captions_val2017.json").read_bytes())
    texts: dict[int, list[str]] = {}
    for entry in document["annotations"]:
        texts.setdefault(entry["image_id"], []).append(entry["caption"])
    score = CaptionScore("COCO val2017", list(texts))
    for image_id, (caption, *references) in texts.items():
        score.add(image_id, caption, references)
    figures = {name: round(value, 3) for name, value in score.figures().items()}
    assert (figures["bleu 1"], figures["bleu 4"]) == (63.779, 20.243)
    assert (figures["rouge l"], figures["cider"]) == (47.479, 84.526)
