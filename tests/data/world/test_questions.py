"""VQA v2 of the world: right answers, balanced, in the official files."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scene_judge
from bag_of_words import majority_accuracy, text_only_accuracy

from vlp_fast.data.world.people import PEOPLE, otherwise, ten_answers
from vlp_fast.data.world.questions import ANSWERS

SPLITS = {"train2014": 360, "val2014": 20}
ANNOTATION = {
    *("question_id", "image_id", "question_type", "answer_type"),
    *("multiple_choice_answer", "answers"),
}
HEAD = {"info", "license", "data_type", "data_subtype"}


def questions_of(world: Any, name: str) -> Any:
    return world.json(f"v2_OpenEnded_mscoco_{name}_questions.json")


def answered(world: Any, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Questions with their annotations."""
    asked = questions_of(world, name)["questions"]
    annotations = world.json(f"v2_mscoco_{name}_annotations.json")["annotations"]
    ids = [entry["question_id"] for entry in asked]
    assert ids == [entry["question_id"] for entry in annotations] == sorted(set(ids))
    return list(zip(asked, annotations, strict=True))


def texts_of(world: Any, name: str) -> list[tuple[str, str]]:
    return [(q["question"], a["multiple_choice_answer"]) for q, a in answered(world, name)]


@pytest.mark.parametrize("name", SPLITS)
def test_answers_are_true_of_the_scene(asked_world: Any, name: str) -> None:
    for question, annotation in answered(asked_world, name):
        scene = asked_world.scenes[question["image_id"]]
        right = scene_judge.answer(scene, question["question"])
        assert annotation["multiple_choice_answer"] == right


@pytest.mark.parametrize("name", SPLITS)
def test_each_answer_to_a_question_is_as_frequent_as_the_others(
    asked_world: Any, name: str
) -> None:
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for text, answer in texts_of(asked_world, name):
        counted[text][answer] += 1
    assert len(counted) > 30
    assert all(len(c) > 1 and len(set(c.values())) == 1 for c in counted.values())


def test_the_text_alone_tells_nothing(asked_world: Any) -> None:
    """At the most what chance has of the answers to each question."""
    train, val = (texts_of(asked_world, name) for name in SPLITS)
    answers: dict[str, set[str]] = defaultdict(set)
    for text, answer in val:
        answers[text].add(answer)
    chance = np.mean([1 / len(answers[text]) for text, _ in val])
    assert chance < 0.46
    assert majority_accuracy(train, val) <= chance + 0.03
    assert text_only_accuracy(train, val) <= chance + 0.03


def test_a_text_that_tells_is_found_out() -> None:
    leaks = [(f"the {a} one {i % 7}", a) for i in range(60) for a in ("red", "blue", "green")]
    assert text_only_accuracy(leaks[:90], leaks[90:]) == 1.0
    assert majority_accuracy(leaks[:90], leaks[90:]) == 1.0


def test_all_kinds_of_questions_are_asked_evenly(asked_world: Any) -> None:
    asked = answered(asked_world, "train2014")
    assert 6.5 * 360 <= len(asked) <= 10.5 * 360
    kinds = Counter(annotation["question_type"] for _, annotation in asked)
    official = {"is there a", "how many", "what color is the", "what", "is the", "which"}
    # Of two objects there are never more of one sort than of another that is there too.
    assert official | {"what is in the"} == set(kinds) - {"are there"}
    assert kinds["how many"] == pytest.approx(400, abs=10)
    for question, annotation in asked:
        assert question["question"].lower().startswith(annotation["question_type"])
    by_type = {(a["answer_type"], a["multiple_choice_answer"]) for _, a in asked}
    for answer_type, answer in by_type:
        number = answer.isdecimal()
        assert answer_type == ("number" if number else "yes/no" if answer in "yesno" else "other")


def test_ten_answers_disagree_but_the_majority_is_right(asked_world: Any) -> None:
    unanimous = []
    for _, annotation in answered(asked_world, "train2014"):
        right, ten = annotation["multiple_choice_answer"], annotation["answers"]
        assert [entry["answer_id"] for entry in ten] == list(range(1, PEOPLE + 1))
        assert {entry["answer_confidence"] for entry in ten} <= {"yes", "maybe", "no"}
        said = Counter(entry["answer"] for entry in ten)
        assert said[right] >= 6 and set(said) <= {right, *otherwise(right)}
        unanimous.append(len(said) == 1)
    assert np.mean(unanimous) == pytest.approx(0.45, abs=0.04)


def test_who_dissents_says_something_close() -> None:
    assert otherwise("3") == ("2", "4", "three")
    assert otherwise("0") == ("1", "none") and otherwise("8") == ("7", "eight")
    assert otherwise("small") == ("medium",) and otherwise("medium") == ("small", "large")
    for answer in ANSWERS:
        assert otherwise(answer) and answer not in otherwise(answer)
    again = [ten_answers("red", np.random.default_rng(4)) for _ in range(2)]
    assert again[0] == again[1] != ten_answers("red", np.random.default_rng(5))


def test_fields_are_the_official_ones(asked_world: Any) -> None:
    for name in ("train2014", "val2014", "test2015", "test-dev2015"):
        content = questions_of(asked_world, name)
        assert set(content) == HEAD | {"task_type", "questions"}
        assert content["data_subtype"] == name and content["task_type"] == "Open-Ended"
        for entry in content["questions"]:
            assert set(entry) == {"question_id", "image_id", "question"}
            assert entry["question_id"] // 1000 == entry["image_id"]
            assert (asked_world.root / "images" / f"{entry['image_id']:012d}.png").is_file()
    for name in SPLITS:
        content = asked_world.json(f"v2_mscoco_{name}_annotations.json")
        assert set(content) == HEAD | {"annotations"}
        for entry in content["annotations"]:
            assert set(entry) == ANNOTATION
            for answer in entry["answers"]:
                assert set(answer) == {"answer", "answer_confidence", "answer_id"}


def test_fields_are_those_of_the_real_sample(shared_data: Path, asked_world: Any) -> None:
    path = shared_data / "samples" / "vqa_v2" / "v2_mscoco_val2014_annotations.json"
    real = json.loads(path.read_text(encoding="utf-8"))
    ours = asked_world.json("v2_mscoco_val2014_annotations.json")
    assert set(ours) == set(real)
    for key in ("info", "license"):
        assert set(ours[key]) == set(real[key])
    first, theirs = ours["annotations"][0], real["annotations"][0]
    for mine, real_entry in ((first, theirs), (first["answers"][0], theirs["answers"][0])):
        assert {k: type(v) for k, v in mine.items()} == {k: type(v) for k, v in real_entry.items()}


def test_splits_ask_of_their_own_pictures(asked_world: Any) -> None:
    karpathy = asked_world.json("dataset_coco.json")["images"]
    split_of = {entry["cocoid"]: entry["split"] for entry in karpathy}
    asked = {
        name: {entry["image_id"] for entry in questions_of(asked_world, name)["questions"]}
        for name in ("train2014", "val2014", "test2015", "test-dev2015")
    }
    for name, split in (("train2014", "train"), ("val2014", "val"), ("test2015", "test")):
        assert asked[name] and {split_of[image] for image in asked[name]} == {split}
    assert asked["test-dev2015"] < asked["test2015"]
    test, dev = (
        {entry["question_id"]: entry for entry in questions_of(asked_world, name)["questions"]}
        for name in ("test2015", "test-dev2015")
    )
    assert dev.items() <= test.items() and len(dev) > len(test) // 4


def test_the_answers_have_a_list(asked_world: Any) -> None:
    names = asked_world.json("vqa_trainval_label2ans.json")
    assert names == list(ANSWERS) and len(set(names)) == len(names)
    for name in SPLITS:
        assert {answer for _, answer in texts_of(asked_world, name)} <= set(names)
