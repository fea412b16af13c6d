"""Every kind of damage to annotations is found, counted and named, and nothing else is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.audit import Audit

Look = Callable[..., Audit]
Change = Callable[[str, Callable[[Any], object]], None]
Found = list[tuple[str, int, str, str]]
KARPATHY, INSTANCES = "dataset_coco.json", "annotations/instances_world.json"
VQA = "v2_mscoco_train2014_annotations.json"
LONG = "a " * 63 + "."


def kinds(found: Audit) -> Found:
    return [(f.level, f.count, f.what, f.where) for f in found.findings]


def first(document: Any, split: str = "train") -> Any:
    return next(image for image in document["images"] if image["split"] == split)


def say(raw: str, split: str = "train") -> Callable[[Any], object]:
    """Edits one caption of the first picture of a split."""
    return lambda document: first(document, split)["sentences"][0].update(raw=raw)


def bbox(*numbers: float) -> Callable[[Any], object]:
    return lambda document: document["annotations"][0].update(bbox=list(numbers))


def no_boxes_of_the_first(document: Any) -> None:
    image_id = document["images"][0]["id"]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != image_id]


def fewer_answers(document: Any) -> None:
    document["annotations"][0]["answers"].pop()


EDITS: dict[str, tuple[str, Callable[[Any], object], Found]] = {
    "an empty caption": (
        KARPATHY,
        say(" \n "),
        [("left out", 1, "empty captions dropped", "world train")],
    ),
    "a caption of signs": (
        KARPATHY,
        say("?! ..."),
        [("told", 1, "texts without a word", "world train")],
    ),
    "a long caption": (
        KARPATHY,
        say(LONG, "val"),
        [("told", 1, "texts of more than 64 tokens are cut", "world val")],
    ),
    "no captions": (
        KARPATHY,
        lambda document: first(document).update(sentences=[]),
        [("left out", 1, "images without a caption dropped", "world train")],
    ),
    "an image twice": (
        KARPATHY,
        lambda document: document["images"].append(first(document)),
        [("left out", 1, "images with an id seen before dropped", "world train")],
    ),
    "an empty box": (
        INSTANCES,
        bbox(3, 3, 0, 5),
        [("left out", 1, "boxes without extent dropped", "world train")],
    ),
    "a box outside": (
        INSTANCES,
        bbox(500, 3, 5, 5),
        [("left out", 1, "boxes outside their image dropped", "world train")],
    ),
    "a box that reaches out": (
        INSTANCES,
        bbox(3, 3, 500, 5),
        [("told", 1, "boxes that reach out of their image clipped", "world train")],
    ),
    "a box of words": (
        INSTANCES,
        lambda document: document["annotations"][0].update(bbox="here"),
        [("left out", 1, "boxes that are not four finite numbers dropped", "world train")],
    ),
    "a box twice": (
        INSTANCES,
        lambda document: document["annotations"].append(document["annotations"][0]),
        [("left out", 1, "boxes with an id seen before dropped", "world train")],
    ),
    "an unknown category": (
        INSTANCES,
        lambda document: document["annotations"][0].update(category_id=77),
        [("left out", 1, "boxes of unknown categories dropped", "world train")],
    ),
    "a category without a box": (
        INSTANCES,
        lambda document: document["categories"].append({"id": 77, "name": "unicorn"}),
        [("told", 1, "classes without a box", "world train")],
    ),
    "a picture without a box": (
        INSTANCES,
        no_boxes_of_the_first,
        [("told", 1, "images without boxes", "world train")],
    ),
    "a question without answers": (
        VQA,
        lambda document: document["annotations"].pop(),
        [("left out", 1, "questions without an annotation dropped", "VQA train")],
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_damage(world: Path, look: Look, change: Change, name: str) -> None:
    file, edit, expected = EDITS[name]
    change(file, edit)
    found = look(world)
    assert kinds(found) == expected
    assert found.is_clean
    assert len(found.findings[0].examples) == 1


def test_a_caption_of_just_as_many_tokens(world: Path, look: Look, change: Change) -> None:
    change(KARPATHY, say(LONG.removeprefix("a a ")))
    assert kinds(look(world)) == []


def test_nine_answers_refuse_a_split_and_the_rest_is_checked(
    world: Path, look: Look, change: Change
) -> None:
    change(VQA, fewer_answers)
    change(KARPATHY, say("?!"))
    found = look(world)
    refused, told = found.findings
    assert (refused.level, refused.where) == ("refused", "VQA train")
    assert "has 9 answers, expected 10" in refused.what
    assert refused.remedy == "this is not the official layout, download the file again" or (
        "download the file again" in refused.remedy
    )
    assert (told.what, told.where) == ("texts without a word", "world train")
    assert not found.is_clean
    assert "VQA val" in {counts.title for counts in found.counts}
    assert "VQA train" not in {counts.title for counts in found.counts}


def test_a_damaged_file_refuses_what_it_serves(world: Path, look: Look) -> None:
    path = world / INSTANCES
    path.write_text(path.read_text()[:-9])
    found = look(world)
    (refused,) = found.findings
    assert refused.where == "captions train, captions val, captions test"
    assert "ends early (truncated)" in refused.what
    assert refused.remedy == "download it again"
    assert {"VQA train", "SNLI-VE dev"} <= {counts.title for counts in found.counts}


def test_questions_of_others_without_answers(world: Path, look: Look) -> None:
    for path in world.glob("v2_*"):
        path.unlink()
    entries = [
        {"question_id": 1, "img_id": "COCO_train2014_000000000001", "sent": "what?", "label": {}},
        {"question_id": 2, "img_id": "000000000002", "sent": "who?", "label": {"it": 1}},
    ]
    (world / "train.json").write_text(json.dumps(entries))
    found = look(world)
    assert kinds(found) == [("told", 1, "questions without an answer", "VQA train")]
    assert found.findings[0].examples == ("question 1",)


def test_statements_are_not_taken_for_questions(world: Path, look: Look) -> None:
    """`train.json` beside the other files may be NLVR2's."""
    for path in world.glob("v2_*"):
        path.unlink()
    for path in (world / "nlvr2").iterdir():
        path.rename(world / ("pairs" if path.name == "images" else path.name))
    (world / "images/train").symlink_to(world / "pairs/train")
    found = look(world)
    titles = {split.title for split in found.splits}
    assert "NLVR2 train" in titles
    assert not any(title.startswith("VQA") for title in titles)


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_split_that_a_run_wants(coco_folder: Path, look: Look, name: str) -> None:
    (coco_folder / f"annotations/captions_{name}2017.json").unlink()
    (refused,) = [f for f in look(coco_folder).findings if f.level == "refused"]
    assert refused.where == f"captions {name}"
    assert f"has no captions_{name}*.json" in refused.what


def test_splits_of_other_classes(coco_folder: Path, look: Look) -> None:
    assert not [f for f in look(coco_folder).findings if f.level == "refused"]
    path = coco_folder / "annotations/instances_val2017.json"
    path.write_text(path.read_text().replace("toothbrush", "comb"))
    (refused,) = [f for f in look(coco_folder).findings if f.level == "refused"]
    assert "have other classes of objects" in refused.what


def test_counts(world: Path, look: Look) -> None:
    train = look(world).counts[0]
    document = json.loads((world / KARPATHY).read_text())
    texts = [s["raw"] for i in document["images"] if i["split"] == "train" for s in i["sentences"]]
    lengths = sorted(len(text.split()) for text in texts)
    assert (train.images, train.texts, train.samples) == (54, len(texts), 0)
    assert train.words[0] == lengths[0]
    assert train.words[-1] == lengths[-1]
    instances = json.loads((world / INSTANCES).read_text())
    own = {i["cocoid"] for i in document["images"] if i["split"] == "train"}
    kept = [a["category_id"] for a in instances["annotations"] if a["image_id"] in own]
    names = {c["id"]: c["name"] for c in instances["categories"]}
    assert train.boxes == len(kept)
    assert train.classes == {names[c]: kept.count(c) for c in names}
    assert list(train.classes.values()) == sorted(train.classes.values(), reverse=True)
