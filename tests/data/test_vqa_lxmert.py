"""Questions with scores instead of answers, in LXMERT's layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from downstream_files import WriteImage, edit

from vlp_fast.data.samples import Question
from vlp_fast.data.sources.vqa import load_vqa, read_questions
from vlp_fast.errors import InputError


def entry(number: int, image_id: int, **more: Any) -> dict[str, Any]:
    return {
        "question_id": number,
        "img_id": f"COCO_val2014_{image_id:012d}",
        "sent": "What  is it?",
        "label": {"net": 1, "a net": 0.3, "nothing": 0},
        **more,
    }


@pytest.fixture
def root(tmp_path: Path, write_image: WriteImage) -> Path:
    """LXMERT's two parts of val, with pictures named as in 2017."""
    (tmp_path / "nominival.json").write_text(json.dumps([entry(1, 5), entry(2, 5)]))
    more = {"answer_type": "other", "question_type": "what is"}
    (tmp_path / "minival.json").write_text(json.dumps([entry(3, 6, **more)]))
    for image_id in (5, 6):
        write_image(tmp_path / "images" / f"{image_id:012d}.jpg")
    return tmp_path


def test_scores_take_the_place_of_answers(root: Path) -> None:
    dataset = load_vqa(root, "val", missing_images="error")
    assert [record.image_id for record in dataset.records] == [5, 6]
    assert dataset.samples[2] == Question(
        key=3,
        images=(1,),
        text="What is it?",
        scores=(("net", 1.0), ("a net", 0.3)),
        answer_type="other",
        question_type="what is",
    )
    assert dataset.notes == ("3 scores of 0 passed over (the first: 1)",)
    assert [len(read_questions(root, name)[0]) for name in ("minival", "nominival")] == [1, 2]


def test_questions_without_a_label(root: Path) -> None:
    edit(root / "minival.json", lambda rows: rows[0].pop("label"))
    question = read_questions(root, "minival")[0][0]
    assert question.scores == question.answers == ()


def test_half_of_val_is_not_val(root: Path) -> None:
    (root / "minival.json").unlink()
    with pytest.raises(InputError, match=r"v2_OpenEnded_mscoco_val2014_questions\.json: No such"):
        read_questions(root, "val")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[0].update(label=["net"]), "expected answers with scores from 0 to 1"),
        (lambda rows: rows[0].update(label={"net": 1.2}), "question 1: 'label' is"),
        (lambda rows: rows[0].update(label={"net": float("nan")}), "question 1: 'label' is"),
        (lambda rows: rows[0].update(label={"net": True}), "question 1: 'label' is"),
        (lambda rows: rows[0].update(img_id="x"), "'img_id' is \"x\", expected a name"),
        (lambda rows: rows[0].pop("sent"), "'sent' is missing"),
        (lambda rows: rows[0].update(question_id="q"), "'question_id' is \"q\", expected int"),
    ],
)
def test_what_is_refused(root: Path, change: Callable[[Any], None], expected: str) -> None:
    edit(root / "nominival.json", change)
    with pytest.raises(InputError) as caught:
        read_questions(root, "val")
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()


def test_real_questions_on_real_photographs(shared_data: Path) -> None:
    path = shared_data / "coco/okvqa_lxmert.json"
    dataset = load_vqa(shared_data / "coco", "val", missing_images="error", path=path)
    rows = json.loads(path.read_text())
    assert [sample.key for sample in dataset.samples] == [row["question_id"] for row in rows]
    assert len(dataset) == 308
    for sample, row in zip(dataset.samples, rows, strict=True):
        assert isinstance(sample, Question)
        assert dict(sample.scores) == row["label"]
        record = dataset.records[sample.images[0]]
        assert record.path.stem == row["img_id"][-12:]
        assert min(record.width, record.height) == 224
