"""Detection with paired text: what is read beside a picture, and what is learnt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from detection_cases import Build, Folder, held_out_of
from rebuilt import with_settings
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp_fast.errors import InputError
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.detection.config import DetectionConfig
from vlp_fast.tasks.detection.detection import Detection


def batch(task: Detection, *indices: int, epoch: int = 0) -> Any:
    """Pictures of training."""
    examples = [task.examples.load(index, 0) for index in indices]
    return task.collate(examples, BatchKey(task.train, epoch, 0))


def texts(task: Detection, inputs: Any) -> list[str]:
    ids = inputs.text_ids.split(inputs.packing.text_lengths)
    return [task.tokenizer.decode(row.tolist()[1:-1]) for row in ids]


def test_training_reads_one_of_its_captions_or_none(build: Build, small_world: Path) -> None:
    task = build(small_world, textless_rate=0.5)
    seen: dict[int, set[str]] = {}
    for epoch in range(8):
        inputs = batch(task, *range(12), epoch=epoch)
        assert inputs.packing.num_sequences == 12
        for index, text in enumerate(texts(task, inputs)):
            own = [" ".join(c.lower().split()) for c in task.train.records[index].captions]
            assert text == "" or text in own
            seen.setdefault(index, set()).add(text)
        again = batch(task, *reversed(range(12)), epoch=epoch)
        assert texts(task, again) == texts(task, inputs)[::-1]  # of its picture, not of its place
    shown = [text for of in seen.values() for text in of]
    assert "" in shown
    assert sum(len(of) > 2 for of in seen.values()) > 6
    always = with_settings(task, textless_rate=0.0)
    assert all(texts(always, batch(always, *range(12))))
    never = with_settings(task, textless_rate=1.0)
    assert not any(texts(never, batch(never, *range(12))))


def test_held_out_columns_share_pictures_and_differ_in_texts(
    build: Build, small_world: Path
) -> None:
    """Its first caption, none, and one that is true of none of its things, whatever the run."""
    task = build(small_world, "train")
    (inputs, *_) = held_out_of(task, 8).collated()
    count = len(inputs.image_ids)
    assert inputs.images.shape[0] == count == 8
    assert inputs.packing.image_of == (*range(count),) * 3
    read = texts(task, inputs)
    by_id = {record.image_id: n for n, record in enumerate(task.held_out.records)}
    for place, image_id in enumerate(inputs.image_ids):
        record = task.held_out.records[by_id[image_id]]
        assert read[place] == " ".join(record.captions[0].lower().split())
        assert read[count + place] == ""
        assert read[2 * count + place] not in record.captions
        assert not task.held_out.describes(by_id[image_id], read[2 * count + place])
    other = build(small_world, "train", textless_rate=0.7)
    other.setup = replace(other.setup, seed=99)
    assert texts(other, next(iter(held_out_of(other, 8).collated()))) == read
    foreign = with_settings(task, texts=("foreign", "own"))
    (swapped, *_) = held_out_of(foreign, 8).collated()
    assert texts(foreign, swapped) == read[2 * count :] + read[:count]


def test_a_text_that_is_not_read_changes_nothing(build: Build, small_world: Path) -> None:
    """Without a text nothing depends on the captions, and with one the boxes do."""
    task = build(small_world, "train")
    (inputs, *_) = held_out_of(task, 6).batches()
    with torch.no_grad():
        found = task.detect(task.learner, inputs)
        alone = with_settings(task, texts=("no",))
        (bare, *_) = held_out_of(alone, 6).batches()
        expected = alone.detect(alone.learner, bare)
    count = len(inputs.image_ids)
    own, no, foreign = found.logits.split(count, dim=1)
    torch.testing.assert_close(no, expected.logits, rtol=1e-4, atol=1e-5)
    assert (own - no).abs().max() > 1e-3
    assert (own - foreign).abs().max() > 1e-3
    assert bare.text_ids.numel() == 0


def test_the_loss_is_that_of_the_first_column(build: Build, small_world: Path) -> None:
    task = build(small_world, "train")
    (inputs, *_) = held_out_of(task, 6).batches()
    with torch.no_grad():
        every = task.learner(task, inputs)
        first = with_settings(task, texts=("own",))
        (one, *_) = held_out_of(first, 6).batches()
        alone = first.learner(first, one)
    torch.testing.assert_close(every.total, alone.total, rtol=1e-4, atol=1e-5)
    assert set(every.parts) == {f"detection_{n}" for n in ("class", "bbox", "giou", "attribute")}


def test_the_cnn_sees_a_picture_once_in_all_columns(build: Build, small_world: Path) -> None:
    task = build(small_world)
    sizes: list[int] = []
    task.model.backbone.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    (inputs, *_) = held_out_of(task, 3).batches()
    with torch.no_grad():
        task.detect(task.learner, inputs)
    assert sizes == [3]


@pytest.mark.parametrize("training", [True, False])
def test_a_step_waits_for_nothing(build: Build, small_world: Path, training: bool) -> None:
    task = build(small_world)
    task.learner.train(training)
    inputs = batch(task, 0, 1, 2)
    with FakeTensorMode(allow_non_fake_inputs=True):
        total = task.learner(task, inputs).total
        assert total.shape == ()
        parameters = [p for n, p in task.model.named_parameters() if "box_head" in n]
        assert torch.autograd.grad(total, parameters)


def test_boxes_and_words_learn(build: Build, small_world: Path) -> None:
    task = build(small_world)
    task.learner.train()
    total = task.learner(task, batch(task, 0, 1, 2, 3)).total
    total.backward()
    moved = {n.split(".")[0] for n, p in task.model.named_parameters() if p.grad is not None}
    assert {"backbone", "text_embeddings", "encoder", "decoder", "class_head"} <= moved
    assert {"query_positions", "box_head", "attribute_head", "input_projection"} <= moved


def test_soho_has_no_decoder(build: Build, small_world: Path) -> None:
    with pytest.raises(InputError, match="detection needs a decoder, and SOHO has none"):
        build(small_world, model="soho")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"texts": ()}, "received texts = ()"),
        ({"texts": ("own", "own")}, "none of them twice"),
        ({"textless_rate": 1.5}, "received textless_rate = 1.5, expected 0 to 1"),
        ({"resamples": -1}, "received resamples = -1"),
        ({"giou_weight": -1.0}, "received giou_weight = -1.0"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        DetectionConfig(**settings)
    assert said in str(caught.value)


def test_several_data_sets_are_for_pre_training(build: Build, small_world: Path) -> None:
    task = build(small_world)
    two = replace(task.setup.data, root=(small_world, small_world / "nlvr2"))
    with pytest.raises(InputError, match="received 2 data sets"):
        task.settings.look_first(two)


def test_images_without_captions_have_columns_without_texts_alone(
    build: Build, folder: Folder
) -> None:
    root = folder({"captions": []}, {"captions": []})
    task = build(root)
    assert task.texts == ("no",)
    assert (
        "too few captions for figures with own and foreign text: there are none"
        in (task.notes()["held out"])
    )
    some = build(folder({"captions": []}, {}))
    assert some.texts == ("own", "no", "foreign")
    (inputs, *_) = held_out_of(some).collated()
    assert texts(some, inputs)[:2] == ["", "a thing"]
    assert texts(some, inputs)[4] in ("a thing", "one thing")  # all that is foreign to the first
    assert texts(some, inputs)[5] == ""  # the second has both: nothing is foreign to it


def test_no_captions_anywhere(build: Build, folder: Folder) -> None:
    root = folder({}, {})
    for file in root.glob("annotations/captions*"):
        file.unlink()
    task = build(root)
    assert task.texts == ("no",)
    assert texts(task, batch(task, 0)) == [""]
    with torch.no_grad():
        assert task.learner(task, batch(task, 0)).total.isfinite()


def test_training_images_without_boxes_are_learnt_as_empty(build: Build, folder: Folder) -> None:
    """As DETR: nothing is there, and each query should say so."""
    task = build(folder({}), "val")
    example = replace(
        task.examples.load(0, 0),
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        attributes=torch.zeros(0, dtype=torch.int64),
    )
    output = task.learner(task, task.collate([example], BatchKey(task.train, 0, 0)))
    assert output.total.isfinite()
    assert output.parts["detection_bbox"] == 0
    assert output.parts["detection_class"] > 0


def test_other_classes_in_the_other_split_are_refused(build: Build, folder: Folder) -> None:
    root = folder({})
    path = root / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text().replace('"thing"', '"thimble"'))
    with pytest.raises(InputError, match="have other classes of objects"):
        build(root)


def test_a_split_without_boxes_is_refused(build: Build, folder: Folder) -> None:
    with pytest.raises(InputError, match="has no boxes, and detection needs them"):
        build(folder({"boxes": []}))
