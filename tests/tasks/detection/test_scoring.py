"""Held-out figures and what is handed in: COCO's numbers in the frame that is annotated."""

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from detection_cases import Build, Folder, finds, held_out_of, write_genome
from rebuilt import with_settings
from teams import Member, run_team
from torch import Tensor

from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError
from vlp_fast.tasks.detection import scoring
from vlp_fast.tasks.detection.detection import Detection
from vlp_fast.tasks.task import Figures

pytest.importorskip("faster_coco_eval")
Found = tuple[Tensor, Tensor, Tensor]


def figures(task: Detection, batch_size: int = 4) -> Figures:
    with torch.no_grad():
        return task.figures(held_out_of(task, batch_size))


def off(text: str, boxes: Tensor, labels: Tensor, attributes: Tensor) -> Found:
    """Right with its own text, a bit beside without one, and another class with a foreign one."""
    if text == "own":
        return boxes, labels, attributes
    if text == "no":
        return boxes + torch.tensor([0.05, 0, 0, 0]), labels, attributes
    return boxes, (labels + 1) % 4, (attributes + 1) % 4


def test_columns_are_what_each_text_finds(
    build: Build, small_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = build(small_world, "train", resamples=50)
    finds(task, monkeypatch, off)
    found = figures(task)
    assert found["ap_own_text"] == pytest.approx(1.0)
    assert found["ap50_own_text"] == pytest.approx(1.0)
    assert 0.05 < found["ap_no_text"] < 0.95
    assert found["ap_no_text"] < found["ap50_no_text"]
    assert found["ap_foreign_text"] < 0.1
    assert found["text_gain"] == found["ap_own_text"] - found["ap_no_text"]
    assert found["foreign_loss"] == found["ap_no_text"] - found["ap_foreign_text"]
    assert found["ap_low_own_text"] == found["ap_high_own_text"] == pytest.approx(1.0)
    low, high = found["ap_low_no_text"], found["ap_high_no_text"]
    assert low < found["ap_no_text"] < high
    assert found["text_gain_low"] == pytest.approx(1 - high)
    assert found["text_gain_high"] == pytest.approx(1 - low)
    assert found["matched_class_own_text"] == found["matched_attribute_own_text"] == 1.0
    assert found["matched_attribute_foreign_text"] == 0.0
    assert found["ap_attribute_own_text"] == pytest.approx(1.0)
    assert found["ap_attribute_foreign_text"] < 0.1
    again = figures(task, batch_size=7)
    assert {n: again[n] for n in found if "_text" in n} == pytest.approx(
        {n: value for n, value in found.items() if "_text" in n}
    )
    none = with_settings(task, resamples=0)
    finds(none, monkeypatch, off)
    assert not any("low" in name for name in figures(none))


def test_a_pair_is_as_sure_as_its_class_and_attribute_together(
    build: Build, small_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = build(small_world, texts=("own",))
    scores: list[Any] = []
    kept = scoring.pair_curves

    def watched(truth: Any, attributes: Any, found: Any, *rest: Any, **named: Any) -> Any:
        scores.append(found.scores)
        return kept(truth, attributes, found, *rest, **named)

    monkeypatch.setattr(scoring, "pair_curves", watched)
    with torch.no_grad():
        answers = scoring.all_answers(task, held_out_of(task))
        task.figures(held_out_of(task))
    (found,) = scores
    ordered = [answers[image] for image in sorted(answers)]
    expected = [a.scores * a.attribute_scores for a in ordered if a.attribute_scores is not None]
    assert found.tolist() == pytest.approx([score for part in expected for score in part], rel=1e-4)


def test_visual_genome_has_attributes_and_no_server(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cat of no attribute costs nothing, whatever it is called; a dog called white does."""
    task = build(write_genome(tmp_path), "train")
    assert task.train.attribute_names == ("white", "brown")

    def named(text: str, boxes: Tensor, labels: Tensor, attributes: Tensor) -> Found:
        brown = torch.ones_like(attributes)
        return boxes, labels, brown if text == "own" else 0 * brown

    finds(task, monkeypatch, named)
    found = figures(task)
    assert found["ap_own_text"] == found["ap_foreign_text"] == pytest.approx(1.0)
    assert found["ap_attribute_own_text"] == pytest.approx(1.0)
    assert found["ap_attribute_foreign_text"] == 0.0
    assert found["matched_attribute_own_text"] == 1.0
    assert found["matched_attribute_no_text"] == 0.0
    with pytest.raises(InputError, match="its layout is visual_genome, and COCO's server"):
        task.settings.look_before_submission(replace(task.setup.data, held_out_split="test"))


def test_processes_share_the_pictures_and_have_the_same_figures(
    build: Build, small_world: Path, tmp_path: Path
) -> None:
    task = build(small_world, resamples=20)
    alone = figures(task, batch_size=1)
    path = tmp_path / "out.json"

    def work(member: Member) -> Figures:
        held_out = replace(held_out_of(task, 1), team=member)
        with torch.no_grad():
            found = task.figures(held_out)
            # Only the first writes: nobody could into a folder that is not there.
            task.submit(held_out, path if member.rank == 0 else tmp_path / "no" / "out.json", print)
        return found

    for found in run_team(2, work):
        assert found == alone
    assert {entry["image_id"] for entry in json.loads(path.read_text())} == set(
        task.held_out.table.image_ids
    )


def library(truth: Path, results: Path, images: list[int]) -> list[float]:
    """What COCO's own tools make of a file on the annotations as they lie there."""
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        score = COCOeval_faster(coco, coco.loadRes(str(results)), "bbox")
        score.params.imgIds = images
        score.run()
    return [float(value) for value in score.stats]


def test_what_is_handed_in_scores_what_was_measured(
    build: Build, small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes that are off by a random bit, some missing, some too many; the official files."""
    draw = torch.Generator().manual_seed(3)

    def noisy(text: str, boxes: Tensor, labels: Tensor, attributes: Tensor) -> Found:
        boxes, labels = torch.cat([boxes, boxes[:1]]), torch.cat([labels, labels[:1]])
        moved = boxes + 0.02 * torch.randn(boxes.shape, generator=draw)
        kept = torch.rand(len(boxes), generator=draw) < 0.9
        return moved[kept].clamp(0.01, 0.99), labels[kept], attributes[:1].expand(int(kept.sum()))

    task = build(small_world, "train", texts=("own",))
    monkeypatch.setattr("vlp_fast.data.submissions.coco_detection.SPLITS", ("train",))
    finds(task, monkeypatch, noisy)
    draw.manual_seed(3)
    found = figures(task)
    draw.manual_seed(3)
    with torch.no_grad():
        task.submit(held_out_of(task), tmp_path / "out.json", lambda line: pytest.fail(line))
    (path,) = small_world.rglob("instances_*.json")
    stats = library(path, tmp_path / "out.json", task.held_out.table.image_ids)
    names = [n.removesuffix("_own_text") for n in found if n.startswith(("ap", "ar_"))]
    shown = [found[f"{name}_own_text"] for name in scoring_names() if name in names]
    assert shown == pytest.approx([value for value in stats if value >= 0], abs=2e-3)
    assert 0.2 < stats[0] < 0.9


def scoring_names() -> tuple[str, ...]:
    from vlp_fast.metrics.coco_protocol import NAMES

    return NAMES


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_placed_in_the_frame_that_is_annotated(
    build: Build, folder: Folder, monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    """COCO annotates the raster as it is stored, and the model sees it upright."""
    task = build(folder({"orientation": orientation}, {}))
    finds(task, monkeypatch)
    assert figures(task)["ap_own_text"] == pytest.approx(1.0)
    (inputs, *_) = held_out_of(task, 1).batches()
    (answers, *_) = scoring.answers_of(task.detect(task.learner, inputs), inputs)
    assert answers[inputs.image_ids[0]].boxes[0] == pytest.approx([20, 10, 30, 20], abs=1e-3)


def test_a_picture_that_was_resized_is_measured_in_its_annotated_frame(
    build: Build, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes of objects are pixels of the annotations, whatever the model sees."""
    root = folder({"size": (192, 128), "boxes": [(40, 20, 60, 40)], "area": 31**2})
    task = build(root)
    small = replace(task.setup.data, shorter_held_out=(32,), longer=64)
    task = task.settings.build(replace(task.setup, data=small))
    finds(task, monkeypatch)
    found = figures(task)
    assert found["ap_own_text"] == found["ap_small_own_text"] == pytest.approx(1.0)
    assert "ap_medium_own_text" not in found


def test_crowds_are_no_objects_and_hide_mistakes(
    build: Build, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = {"boxes": [(0, 0, 96, 64)], "crowd": True}
    task = build(folder({}, crowd))

    def more(text: str, boxes: Tensor, labels: Tensor, attributes: Tensor) -> Found:
        """Something in each picture, also where there is but a crowd."""
        found = boxes if len(boxes) else torch.tensor([[0.5, 0.5, 0.2, 0.2]])
        zeros = torch.zeros(len(found), dtype=torch.int64)
        return found, zeros, zeros

    finds(task, monkeypatch, more)
    assert figures(task)["ap_own_text"] == pytest.approx(1.0)
    plain = build(folder({"boxes": []}, {}))  # where nothing is annotated, the first is a mistake
    finds(plain, monkeypatch, more)
    assert figures(plain)["ap_own_text"] == pytest.approx(0.5, abs=0.01)


def test_crowds_alone_have_no_ap(
    build: Build, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading refuses a split without a box to learn from, and so it is told."""
    with pytest.raises(InputError, match="1 crowd regions left out"):
        build(folder({"crowd": True}))


def test_a_broken_picture_has_no_answer_and_its_objects_count(
    build: Build, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder({}, {}, {}, {})
    (root / "val2017" / "000000000003.png").write_bytes(b"no picture")
    task = build(root)
    finds(task, monkeypatch)
    found = figures(task)
    assert found["ar_100_own_text"] == pytest.approx(3 / 4)
    assert 0.7 < found["ap_own_text"] < 0.8  # a precision of 1 up to three quarters
    shown = [
        image
        for inputs in held_out_of(task, 1).batches()
        for image in scoring.answers_of(task.detect(task.learner, inputs), inputs)[0]
    ]
    assert sorted(shown) == [1, 2, 4]  # what stands in for the third is no second answer
    said: list[str] = []
    with torch.no_grad():
        task.submit(held_out_of(task), tmp_path / "out.json", said.append)
    assert said == ["1 images that cannot be read (the first: 3) have no boxes"]
    entries = json.loads((tmp_path / "out.json").read_text())
    assert {entry["image_id"] for entry in entries} == {1, 2, 4}
    assert {entry["category_id"] for entry in entries} <= {7, 90}
    assert all(len([e for e in entries if e["image_id"] == i]) == 12 for i in (1, 2, 4))


def test_an_image_that_nobody_annotated_is_not_measured(
    build: Build, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = build(folder({}, {}))
    finds(task, monkeypatch)
    known = task.annotations.of([2])
    monkeypatch.setattr(type(task), "annotations", property(lambda _: known))
    assert figures(task)["ap_own_text"] == pytest.approx(1.0)


def test_there_are_losses_and_no_more_without_the_package(
    build: Build, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlp_fast.metrics.coco_protocol.find_spec", lambda name: None)
    task = build(folder({}))
    finds(task, monkeypatch)
    assert {"loss", "detection"} <= set(figures(task))
    assert not any(name.startswith("ap") for name in figures(task))
    assert any("faster-coco-eval is not installed" in note for note in task.notes()["held out"])


@pytest.mark.parametrize("head", ["class_head", "box_head"])
def test_what_is_nan_is_told_and_neither_measured_nor_handed_in(
    build: Build, folder: Folder, tmp_path: Path, head: str
) -> None:
    """Boxes that are NaN match nothing, and would be an AP of 0."""
    task = build(folder({}))
    with torch.no_grad():
        for name, parameter in task.model.named_parameters():
            if name.startswith(head) and name.endswith("bias"):
                parameter.fill_(torch.nan)
    with pytest.raises(InputError, match="boxes or their scores are NaN"):
        figures(task)
    with torch.no_grad(), pytest.raises(InputError, match="boxes or their scores are NaN"):
        task.submit(held_out_of(task), tmp_path / "out.json", print)


def test_boxes_beyond_the_frame_are_not_cut(
    build: Build, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DETR's, of a picture of 96 x 64 with an object at 20, 10 of 30 x 20."""
    task = build(folder({}))
    moved = torch.tensor([-0.5, 0.5, 0, 0])
    finds(task, monkeypatch, lambda text, boxes, *rest: (boxes + moved, *rest))
    (inputs,) = held_out_of(task, 1).batches()
    (answers, *_) = scoring.answers_of(task.detect(task.learner, inputs), inputs)
    assert answers[inputs.image_ids[0]].boxes[0] == pytest.approx([-28, 42, 30, 20], abs=1e-3)


def unannotated(root: Path, part: str = "test-dev2017") -> Path:
    """A split of which the files say images and classes."""
    path = root / "annotations" / "instances_val2017.json"
    document: dict[str, Any] = json.loads(path.read_text())
    del document["annotations"]
    (root / "annotations" / f"image_info_{part}.json").write_text(json.dumps(document))
    (root / "val2017").rename(root / "test2017")
    return root


def test_a_split_that_nobody_tells_is_handed_in_without_figures(
    build: Build, folder: Folder, tmp_path: Path
) -> None:
    task = build(unannotated(folder({}, {})), "test-dev")
    assert task.figures(held_out_of(task)) == {}
    assert any("`vlp-fast submit` writes a run's own boxes" in n for n in task.notes()["held out"])
    with torch.no_grad():
        task.submit(held_out_of(task), tmp_path / "out.json", lambda line: pytest.fail(line))
    entries = json.loads((tmp_path / "out.json").read_text())
    assert len(entries) == 24
    assert all(entry["category_id"] in (7, 90) for entry in entries)


def test_a_split_is_handed_in_whole_and_one_that_is_scored(
    build: Build, folder: Folder, tmp_path: Path
) -> None:
    root = folder({}, {})
    (root / "val2017" / "000000000002.png").unlink()
    task = build(root, missing_images="drop")
    with pytest.raises(InputError, match=r"1 of 2 images of COCO val2017 are left out .*is 2, and"):
        task.submit(held_out_of(task), tmp_path / "out.json", print)
    with pytest.raises(InputError, match="no answers to split 'train' of COCO detection"):
        task.settings.look_before_submission(replace(task.setup.data, held_out_split="train"))


def gains(low: float, high: float) -> Figures:
    return {"text_gain_low": low, "text_gain_high": high, "text_gain": (low + high) / 2}


def test_it_is_said_whether_captions_help(build: Build, folder: Folder) -> None:
    task = build(folder({}), textless_rate=0.5)
    held_out = held_out_of(task)
    assert task.remarks({}, held_out) == []
    assert task.remarks(gains(0.01, 0.2), held_out) == []
    (line,) = task.remarks(gains(-0.01, 0.2), held_out)
    assert line == (
        "captions are no proven help: AP with them minus AP without is 0.0950, with a "
        "95 % interval from -0.0100 to 0.2000"
    )
    (line,) = with_settings(task, textless_rate=0.0).remarks(gains(0.1, 0.2), held_out)
    assert line.startswith("training showed no picture without a caption")


def test_the_truth_is_read_for_the_held_out_split(build: Build, small_world: Path) -> None:
    task = build(small_world)
    held_out: Dataset = task.held_out
    assert sorted(task.annotations.listed.tolist()) == sorted(held_out.table.image_ids)
    assert len(task.annotations) == held_out.num_boxes
