"""SNLI-VE as it is published: two spellings of the picture, and a premise that gives much away."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from downstream_files import WriteImage, edit_lines, hypothesis, write_lines

from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Hypothesis
from vlp_fast.data.sources.snli_ve import load_snli_ve, read_hypotheses
from vlp_fast.errors import InputError

LABELS = ["entailment", "neutral", "-", "contradiction"]


@pytest.fixture
def root(tmp_path: Path, write_image: WriteImage) -> Path:
    """Four hypotheses of dev, one of which nobody agrees on, about two pictures."""
    root = tmp_path / "snli_ve"
    write_lines(
        root / "snli_ve_dev.jsonl",
        [
            hypothesis(f"{i % 2 + 5}.jpg#0r{i}", f"{i % 2 + 5}", label)
            for i, label in enumerate(LABELS)
        ],
    )
    for name in ("5", "6"):
        write_image(root / f"flickr30k-images/{name}.jpg")
    return root


def load(root: Path, split: str = "dev") -> Dataset:
    return load_snli_ve(root, split, missing_images="error")


def test_the_official_lines_are_read_as_they_are(root: Path) -> None:
    dataset = load(root)
    assert dataset.name == "SNLI-VE dev"
    assert [record.image_id for record in dataset.records] == [5, 6]
    assert [sample.images for sample in dataset.samples] == [(0,), (1,), (1,)]
    assert dataset.samples[0] == Hypothesis(
        key="5.jpg#0r0",
        images=(0,),
        text="A hypothesis about 5.",
        label="entailment",
        premise="A caption of 5.",
    )
    assert dataset.notes == (
        '1 hypotheses on which nobody agreed (gold label "-") dropped (the first: 5.jpg#0r2)',
    )
    assert load(root, "val").samples == dataset.samples


def test_both_spellings_are_one(root: Path) -> None:
    def respell(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["Flikr30kID"] = row.pop("Flickr30K_ID") + ".jpg"

    before = load(root)
    edit_lines(root / "snli_ve_dev.jsonl", respell)
    after = load(root)
    assert after.samples == before.samples
    assert [r.path for r in after.records] == [r.path for r in before.records]
    edit_lines(root / "snli_ve_dev.jsonl", lambda rows: rows[0].update(Flikr30kID="5"))
    assert load(root).samples == before.samples


def test_the_premise_is_nowhere_but_in_its_field(root: Path) -> None:
    before = load(root)
    edit_lines(
        root / "snli_ve_dev.jsonl", lambda rows: [row.update(sentence1="Other.") for row in rows]
    )
    after = load(root)
    assert after.captions() == before.captions()
    hide = lambda d: [replace(s, premise="") for s in d.samples if isinstance(s, Hypothesis)]
    assert hide(after) == hide(before)
    assert [s.premise for s in after.samples if isinstance(s, Hypothesis)] == ["Other."] * 3


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda rows: rows[1].update(gold_label="Neutral"),
            "line 2: 'gold_label' is \"Neutral\", expected entailment, neutral, contradiction or",
        ),
        (lambda rows: rows[1].update(gold_label=1), "'gold_label' is 1, expected str"),
        (lambda rows: rows[1].pop("Flickr30K_ID"), "'Flickr30K_ID' is missing"),
        (lambda rows: rows[1].pop("sentence2"), "'sentence2' is missing"),
        (lambda rows: rows[1].update(pairID=7), "'pairID' is 7, expected str"),
        (
            lambda rows: rows.append(rows[0] | {"gold_label": "neutral"}),
            "two different samples with the id 5.jpg#0r0",
        ),
        (lambda rows: rows[1].update(Flickr30K_ID="7"), "the first is 7.jpg"),
    ],
)
def test_what_is_refused(root: Path, change: Callable[[Any], None], expected: str) -> None:
    edit_lines(root / "snli_ve_dev.jsonl", change)
    with pytest.raises(InputError) as caught:
        load(root)
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()


def test_files_and_splits_that_are_not_there(root: Path) -> None:
    with pytest.raises(InputError, match=r"snli_ve_test\.jsonl: No such file"):
        load(root, "test")
    with pytest.raises(InputError, match="no split 'minival'; choose one of train, dev, val, test"):
        load(root, "minival")


def test_no_hypothesis_is_left(root: Path) -> None:
    edit_lines(
        root / "snli_ve_dev.jsonl", lambda rows: [row.update(gold_label="-") for row in rows]
    )
    with pytest.raises(InputError, match="no sample: 4 hypotheses on which nobody agreed"):
        load(root)


def test_real_hypotheses_and_photographs(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "samples/snli_ve"
    shutil.copy(source / "sample_data.jsonl", tmp_path / "snli_ve_test.jsonl")
    (tmp_path / "flickr30k-images").symlink_to(source)
    dataset = load(tmp_path, "test")
    rows = [json.loads(line) for line in (source / "sample_data.jsonl").open()]
    for sample, row in zip(dataset.samples, rows, strict=True):
        assert isinstance(sample, Hypothesis)
        assert (sample.key, sample.text) == (row["pairID"], row["sentence2"])
        assert sample.label == row["gold_label"]
        assert dataset.records[sample.images[0]].path.name == row["Flikr30kID"]
    assert [record.width for record in dataset.records] == [500] * 5
    assert read_hypotheses(tmp_path, "test")[4].label == "entailment"
