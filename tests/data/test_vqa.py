"""VQA v2 as it is published: questions, ten answers each, splits, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from downstream_files import (
    ANNOTATIONS,
    QUESTIONS,
    WriteImage,
    annotation,
    edit,
    question,
    write_vqa_part,
)

from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Question
from vlp_fast.data.sources.vqa import load_vqa, read_questions
from vlp_fast.errors import InputError

VAL = range(101, 121)


@pytest.fixture
def root(tmp_path: Path, write_image: WriteImage) -> Path:
    """All four parts: 3 images to train, 20 in val, 2 in test, one of them in test-dev."""
    root = tmp_path / "vqa"
    write_vqa_part(root, "train2014", (1, 2, 3), write_image, answered=True)
    write_vqa_part(root, "val2014", VAL, write_image, answered=True)
    write_vqa_part(root, "test2015", (201, 202), write_image, answered=False)
    write_vqa_part(root, "test-dev2015", (202,), write_image, answered=False)
    return root


def load(root: Path, split: str = "train") -> Dataset:
    return load_vqa(root, split, missing_images="error")


def questions_of(dataset: Dataset) -> list[Question]:
    return [sample for sample in dataset.samples if isinstance(sample, Question)]


def test_the_official_tree_is_read_as_it_is(root: Path) -> None:
    dataset = load(root)
    assert (dataset.name, dataset.notes, dataset.class_names) == ("VQA train", (), ())
    assert [record.image_id for record in dataset.records] == [1, 2, 3]
    record = dataset.records[2]
    assert record.path == root / "train2014/COCO_train2014_000000000003.jpg"
    assert (record.width, record.height, record.captions) == (20, 10, ())
    assert (record.boxes.shape, dataset.num_boxes) == ((0, 4), 0)
    assert len(dataset) == len(dataset.samples) == 6
    assert dataset.samples[5] == Question(
        key=3001,
        images=(2,),
        text="What is in picture 3?",
        answers=("yes",) * 7 + ("no", "No.", "a dog"),
        majority="yes",
        answer_type="yes/no",
        question_type="what is",
    )
    assert dataset.aspects().tolist() == [2.0] * 6


def test_files_may_be_in_a_folder_and_pictures_of_2017(root: Path) -> None:
    (root / "annotations").mkdir()
    for file in root.glob("*.json"):
        file.rename(root / "annotations" / file.name)
    (root / "train2014").rename(root / "val2017")  # 2017 dealt out the images of both anew
    for file in (root / "val2017").iterdir():
        file.rename(file.with_name(file.name.rpartition("_")[2]))
    assert load(root).records[0].path == root / "val2017/000000000001.jpg"


def test_test_sets_have_no_answers(root: Path) -> None:
    test, dev = load(root, "test"), load(root, "test-dev")
    assert [sample.key for sample in test.samples] == [201000, 201001, 202000, 202001]
    assert [sample.key for sample in dev.samples] == [202000, 202001]
    assert dev.records[0].path == root / "test2015/COCO_test2015_000000000202.jpg"
    assert all(q.answers == q.scores == () and not q.answer_type for q in questions_of(test))


def test_train_and_val_together(root: Path) -> None:
    both = load(root, "train+val")
    assert len(both.records) == 23
    assert len(both) == 46
    assert both.records[both.samples[6].images[0]].image_id == 101


def test_minival_and_the_rest_are_val_whatever_the_order(root: Path) -> None:
    ids = lambda split: {record.image_id for record in load(root, split).records}
    minival, rest = ids("minival"), ids("nominival")
    assert len(minival) == 20 // 8
    assert minival | rest == set(VAL)
    assert not minival & rest
    assert ids("train+nominival") == rest | {1, 2, 3}
    edit(root / QUESTIONS.format("val2014"), lambda document: document["questions"].reverse())
    assert ids("minival") == minival == {101, 115}  # for good: results are compared by it


def test_minival_of_five_thousand(tmp_path: Path) -> None:
    for count, expected in ((40504, 5000), (39999, 4999), (7, 1)):
        document = {"questions": [question(i, i) for i in range(count)]}
        (tmp_path / QUESTIONS.format("val2014")).write_text(json.dumps(document))
        document = {"annotations": [annotation(i, i) for i in range(count)]}
        (tmp_path / ANNOTATIONS.format("val2014")).write_text(json.dumps(document))
        assert len(read_questions(tmp_path, "minival")[0]) == expected


def test_lxmert_says_what_minival_is(root: Path) -> None:
    (root / "minival.json").write_text(
        json.dumps(
            [
                {"question_id": 5, "img_id": f"COCO_val2014_{i:012d}", "sent": "s", "label": {}}
                for i in (103, 120)
            ]
        )
    )
    assert [r.image_id for r in load(root, "minival").records] == [103, 120]
    minival = questions_of(load(root, "minival"))
    assert len(minival) == 4
    assert all(len(question.answers) == 10 for question in minival)
    assert len(load(root, "nominival").records) == 18


def test_questions_without_pictures(root: Path) -> None:
    for picture in root.glob("*/*.jpg"):
        picture.unlink()
    questions, notes = read_questions(root, "train+val")
    assert (len(questions), notes) == (46, ())
    assert {question.images for question in questions} == {()}


def test_pictures_that_are_missing(root: Path) -> None:
    (root / "train2014/COCO_train2014_000000000002.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 3 annotated images .*COCO_train2014_000000000002"):
        load(root)
    dataset = load_vqa(root, "train", missing_images="drop")
    assert [record.image_id for record in dataset.records] == [1, 3]
    assert [sample.images for sample in dataset.samples] == [(0,), (0,), (1,), (1,)]
    assert "2 samples without a picture dropped (the first: 2000)" in dataset.notes


@pytest.mark.parametrize(
    ("part", "change", "expected"),
    [
        ("questions", lambda d: d["questions"].append(question(5, 1)), "1 questions without an"),
        ("annotations", lambda d: d["annotations"].pop(), "1 questions without an annotation"),
        ("questions", lambda d: d["questions"].pop(), "1 annotations of unknown questions"),
        (
            "questions",
            lambda d: d["questions"].append(d["questions"][0]),
            "1 samples with an id seen before dropped (the first: 1000)",
        ),
        (
            "annotations",
            lambda d: d["annotations"].append(d["annotations"][0]),
            "1 annotations of a question seen before dropped (the first: 3001)",
        ),
        (
            "questions",
            lambda d: d["questions"][3].update(question=" \n"),
            "1 samples without words dropped (the first: 2001)",
        ),
        (
            "annotations",
            lambda d: [answer.pop("answer_id") for answer in d["annotations"][0]["answers"]],
            "1 questions whose answers lack an answer_id of their own",
        ),
    ],
)
def test_what_is_left_out_is_counted(
    root: Path, part: str, change: Callable[[Any], None], expected: str
) -> None:
    name = QUESTIONS if part == "questions" else ANNOTATIONS
    edit(root / name.format("train2014"), change)
    dataset = load(root)
    assert [expected in note for note in dataset.notes] == [True]
    assert len(dataset) in (5, 6)
    assert len({sample.key for sample in dataset.samples}) == len(dataset)


@pytest.mark.parametrize(
    ("part", "change", "expected"),
    [
        (
            "annotations",
            lambda d: d["annotations"][0]["answers"].pop(),
            "question 3001 has 9 answers, expected 10",
        ),
        (
            "annotations",
            lambda d: d["annotations"][0].update(image_id=2),
            "question 3001 is about image 2 here and about image 3 in the file of questions",
        ),
        (
            "annotations",
            lambda d: d["annotations"].append(annotation(1000, 1, ["no"] * 10)),
            "has two different annotations of question 1000",
        ),
        (
            "questions",
            lambda d: d["questions"].append(question(1000, 1) | {"question": "Who?"}),
            "two different samples with the id 1000",
        ),
        ("questions", lambda d: d["questions"][0].pop("image_id"), "'image_id' is missing"),
        ("questions", lambda d: d["questions"][0].update(question=7), "'question' is 7"),
        ("questions", lambda d: d.update(questions={}), "has no 'questions' list"),
        ("questions", lambda d: d.update(questions=[]), "VQA train has no sample"),
        ("annotations", lambda d: d["annotations"][0].pop("answers"), "has no 'answers' list"),
        (
            "annotations",
            lambda d: d["annotations"][0]["answers"][3].update(answer=None),
            "'answer' is null, expected str",
        ),
    ],
)
def test_what_is_refused(
    root: Path, part: str, change: Callable[[Any], None], expected: str
) -> None:
    name = QUESTIONS if part == "questions" else ANNOTATIONS
    edit(root / name.format("train2014"), change)
    with pytest.raises(InputError) as caught:
        load(root)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_and_splits_that_are_not_there(root: Path) -> None:
    with pytest.raises(InputError, match=r"no split 'dev'; choose one of train, val, train\+val"):
        load(root, "dev")
    (root / ANNOTATIONS.format("val2014")).unlink()
    with pytest.raises(InputError, match=r"v2_mscoco_val2014_annotations\.json: No such file"):
        load(root, "val")
    (root / QUESTIONS.format("val2014")).unlink()
    with pytest.raises(InputError, match=r"v2_OpenEnded_mscoco_val2014_questions\.json: No such"):
        load(root, "val")
    with pytest.raises(InputError, match="no such folder"):
        load(root / "none")


def test_real_annotations(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "samples/vqa_v2" / ANNOTATIONS.format("val2014")
    rows = json.loads(source.read_text())["annotations"]
    (tmp_path / source.name).write_bytes(source.read_bytes())
    asked = [question(row["question_id"], row["image_id"]) for row in rows]
    (tmp_path / QUESTIONS.format("val2014")).write_text(json.dumps({"questions": asked}))
    questions, notes = read_questions(tmp_path, "val")
    assert notes == ()
    assert [q.answers for q in questions] == [
        tuple(answer["answer"] for answer in row["answers"]) for row in rows
    ]
    assert {q.answer_type for q in questions} == {"yes/no", "number", "other"}
    assert questions[0].majority == "down"
