"""E2E-VLP's batch and joint loss: 2B sequences, captions written from the image alone."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from first_records import FirstRecords
from rebuilt import with_settings, with_setup

from vlp_fast.data.examples import Example
from vlp_fast.data.records import Dataset
from vlp_fast.metrics.average_precision import AveragePrecision
from vlp_fast.models.e2e_vlp import E2EVLP, Detections
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPInputs, E2EVLPPretraining, shown_boxes
from vlp_fast.tasks.step import StepOutput, mean_cross_entropy

B = 8
LOSSES = {"mlm", "itm", "detection", "captioning"}


@pytest.fixture
def inputs(e2e_vlp_task: E2EVLPPretraining, examples: list[Example]) -> E2EVLPInputs:
    return batch(e2e_vlp_task, examples[:B])


def batch(
    task: E2EVLPPretraining, examples: list[Example], epoch: int = 0, step: int = 0
) -> E2EVLPInputs:
    return task.collate(examples, BatchKey(task.train, epoch, step))


def learn(task: E2EVLPPretraining, inputs: E2EVLPInputs) -> StepOutput:
    output: StepOutput = task.learner(task, inputs)
    return output


def restored(inputs: E2EVLPInputs) -> list[list[int]]:
    """The joint texts with every target put back at the packed row that it claims to be from."""
    rows = torch.full((inputs.packing.num_rows,), -1)
    rows[inputs.packing.text_rows] = inputs.text_ids
    rows[inputs.masked_rows] = inputs.masked_targets
    lengths = list(inputs.packing.text_lengths)
    return [p.tolist() for p in rows[inputs.packing.text_rows].split(lengths)]


def ids_of(task: E2EVLPPretraining, captions: tuple[str, ...]) -> list[list[int]]:
    return [task.corruption.ids(caption) for caption in captions]


def test_joint_sequences_first_then_the_images_alone(inputs: E2EVLPInputs) -> None:
    packing = inputs.packing
    cells = [h * w for h, w in inputs.grid.sizes]
    assert packing.num_sequences == 2 * B
    assert packing.image_of == (*range(B), *range(B))
    assert packing.text_lengths[B:] == (0,) * B
    assert min(packing.text_lengths[:B]) > 2
    assert list(packing.grid_lengths) == cells * 2
    assert sum(packing.text_lengths) == len(inputs.text_ids)
    assert set(packing.sequence_of[inputs.image_rows].tolist()) == set(range(B, 2 * B))
    assert list(inputs.image_packing.lengths) == cells
    assert inputs.image_packing.grid_cells.tolist() == list(range(inputs.grid.num_cells))


def test_masked_rows_decode_back_and_belong_to_matching_texts(
    e2e_vlp_task: E2EVLPPretraining, examples: list[Example]
) -> None:
    inputs = batch(e2e_vlp_task, examples, 1)
    matched = inputs.is_matched.bool().tolist()
    assert 0 < sum(matched) < len(matched)
    sequences = set(inputs.packing.sequence_of[inputs.masked_rows].tolist())
    assert sequences == {i for i, own in enumerate(matched) if own}
    texts = restored(inputs)
    for example, text, own in zip(examples, texts, matched, strict=False):
        if own:
            assert text in ids_of(e2e_vlp_task, example.captions)


def test_half_of_the_pairs_match(e2e_vlp_task: E2EVLPPretraining, examples: list[Example]) -> None:
    drawn = [batch(e2e_vlp_task, examples, epoch).is_matched for epoch in range(40)]
    share = torch.cat(drawn).float().mean()
    assert share == pytest.approx(0.5, abs=0.05)
    per_image = torch.stack(drawn).float().mean(0)
    assert per_image.min() > 0.1
    assert per_image.max() < 0.9


def test_a_mismatched_text_is_no_own_caption_and_not_true(
    e2e_vlp_task: E2EVLPPretraining, examples: list[Example], dataset: Dataset
) -> None:
    task = with_settings(e2e_vlp_task, mismatch_rate=1.0, mask_rate=1e-9)
    task.curriculum = FirstRecords()
    inputs = batch(task, examples, step=9)
    assert not inputs.is_matched.any()
    assert len(inputs.masked_rows) == 0
    pool = ids_of(task, tuple(c for r in dataset.records[:9] for c in r.captions))
    assert dataset.describes is not None
    for example, text in zip(examples, restored(inputs), strict=False):
        near = [ids for ids in pool if sum(a != b for a, b in zip(ids, text, strict=False)) <= 1]
        assert any(len(ids) == len(text) for ids in near)  # one word is masked, the rest is there
        assert text not in ids_of(task, example.captions)


def test_captions_are_the_images_own_even_where_the_text_is_foreign(
    e2e_vlp_task: E2EVLPPretraining, examples: list[Example]
) -> None:
    task = with_settings(e2e_vlp_task, mismatch_rate=1.0)
    inputs = batch(task, examples)
    lengths = list(inputs.caption_packing.text_lengths)
    assert inputs.caption_packing.image_of == (-1,) * len(examples)
    read, answer = inputs.caption_ids.split(lengths), inputs.caption_targets.split(lengths)
    tokenizer = task.corruption.tokenizer
    for example, seen, told in zip(examples, read, answer, strict=True):
        ids = [*seen.tolist(), int(told[-1])]
        assert ids in ids_of(task, example.captions)
        assert told[:-1].tolist() == seen[1:].tolist()
        assert (ids[0], ids[-1]) == (tokenizer.cls_id, tokenizer.sep_id)
        assert tokenizer.mask_id not in ids


def test_a_matching_text_is_not_the_caption_to_write(
    e2e_vlp_task: E2EVLPPretraining, examples: list[Example]
) -> None:
    task = with_settings(e2e_vlp_task, mismatch_rate=0.0)
    inputs = batch(task, examples)
    lengths = list(inputs.caption_packing.text_lengths)
    for example, text, seen in zip(
        examples, restored(inputs), inputs.caption_ids.split(lengths), strict=False
    ):
        if len(set(example.captions)) == len(example.captions) > 1:
            assert text[:-1] != seen.tolist()


@pytest.mark.parametrize(("rate", "expected"), [(0.0, {0}), (0.5, {0, 1}), (1.0, {1})])
def test_detection_reads_joint_or_image_only_sequences(
    e2e_vlp_task: E2EVLPPretraining, examples: list[Example], rate: float, expected: set[int]
) -> None:
    task = with_settings(e2e_vlp_task, image_only_detection_rate=rate)
    inputs = batch(task, examples)
    count = len(examples)
    sequences = inputs.packing.sequence_of[inputs.detection_rows].unique_consecutive().tolist()
    assert {s // count for s in sequences} == expected
    assert [s % count for s in sequences] == list(range(count))
    assert list(inputs.detection_packing.lengths) == [inputs.packing.lengths[s] for s in sequences]
    assert inputs.detection_packing.image_of == tuple(range(count))


def test_targets_are_the_boxes_of_the_images(inputs: E2EVLPInputs, examples: list[Example]) -> None:
    assert inputs.targets.counts == tuple(len(e.labels) for e in examples[:B])
    torch.testing.assert_close(inputs.targets.boxes, torch.cat([e.boxes for e in examples[:B]]))
    assert inputs.targets.labels.tolist() == torch.cat([e.labels for e in examples[:B]]).tolist()


def test_collate_is_a_function_of_seed_epoch_and_index(
    e2e_vlp_task: E2EVLPPretraining, examples: list[Example]
) -> None:
    task = with_settings(e2e_vlp_task, image_only_detection_rate=0.5)

    def of(task: E2EVLPPretraining, shown: list[Example], epoch: int, place: int) -> Any:
        inputs = batch(task, shown, epoch)
        text = inputs.text_ids.split(list(inputs.packing.text_lengths))[place]
        caption = inputs.caption_ids.split(list(inputs.caption_packing.text_lengths))[place]
        sequences = inputs.packing.sequence_of[inputs.detection_rows].unique_consecutive()
        alone = bool(sequences[place] >= len(shown))
        return text.tolist(), caption.tolist(), int(inputs.is_matched[place]), alone

    expected = [of(task, [examples[5]], epoch, 0) for epoch in range(6)]
    assert [of(task, examples[:8], epoch, 5) for epoch in range(6)] == expected
    assert of(task, [examples[9], examples[5]], 2, 1) == expected[2]
    assert expected[0] != expected[1]
    assert of(with_setup(task, seed=task.setup.seed + 1), [examples[5]], 0, 0) != expected[0]
    assert of(task, [replace(examples[5], index=6)], 0, 0) != expected[0]


def test_the_total_is_the_sum_of_four_losses(
    e2e_vlp_task: E2EVLPPretraining, inputs: E2EVLPInputs
) -> None:
    output = learn(e2e_vlp_task, inputs)
    assert set(output.losses) == LOSSES
    torch.testing.assert_close(output.total, sum(output.losses.values()))
    assert all(float(loss.detach()) > 0 for loss in output.losses.values())
    assert output.parts.keys() == {f"detection_{n}" for n in ("class", "bbox", "giou", "attribute")}
    assert int(output.counts["captioning"][1]) == len(inputs.caption_ids)
    assert int(output.counts["itm"][1]) == B


@pytest.mark.parametrize("absent", ["detection", "captioning"])
def test_an_objective_can_be_left_out(
    e2e_vlp: E2EVLP, e2e_vlp_task: E2EVLPPretraining, inputs: E2EVLPInputs, absent: str
) -> None:
    e2e_vlp.eval()
    task = with_settings(e2e_vlp_task, **{absent: False})
    every, fewer = learn(e2e_vlp_task, inputs), learn(task, inputs)
    assert set(fewer.losses) == LOSSES - {absent}
    torch.testing.assert_close(fewer.total, every.total - every.losses[absent])


def test_words_and_pairs_are_read_at_their_rows(
    e2e_vlp: E2EVLP, e2e_vlp_task: E2EVLPPretraining, inputs: E2EVLPInputs
) -> None:
    e2e_vlp.eval()
    output = learn(e2e_vlp_task, inputs)
    seen = e2e_vlp.see(inputs.images, inputs.grid, inputs.image_sizes)
    memory = e2e_vlp.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
    logits = e2e_vlp.masked_word_logits(memory)
    words = [
        -logits[row].log_softmax(0)[target]
        for row, target in zip(
            inputs.masked_rows.tolist(), inputs.masked_targets.tolist(), strict=True
        )
    ]
    starts = inputs.packing.cu_seqlens.tolist()[:B]
    pairs = [
        -e2e_vlp.match_logits(memory[start : start + 1]).log_softmax(1)[0, matched]
        for start, matched in zip(starts, inputs.is_matched.tolist(), strict=True)
    ]
    torch.testing.assert_close(output.losses["mlm"], torch.stack(words).mean())
    torch.testing.assert_close(output.losses["itm"], torch.stack(pairs).mean())


def test_the_caption_loss_sees_the_image_and_never_the_text(
    e2e_vlp: E2EVLP, e2e_vlp_task: E2EVLPPretraining, inputs: E2EVLPInputs
) -> None:
    e2e_vlp.eval()
    other_text = replace(inputs, text_ids=inputs.text_ids.flip(0))
    other_image = replace(inputs, images=inputs.images.flip(1))
    before = learn(e2e_vlp_task, inputs).losses
    told = learn(e2e_vlp_task, other_text).losses
    shown = learn(e2e_vlp_task, other_image).losses
    torch.testing.assert_close(told["captioning"], before["captioning"], rtol=0, atol=1e-6)
    assert (told["itm"] - before["itm"]).abs() > 1e-5
    assert (shown["captioning"] - before["captioning"]).abs() > 1e-6


def test_label_smoothing_reaches_the_caption_loss(
    e2e_vlp: E2EVLP, e2e_vlp_task: E2EVLPPretraining, inputs: E2EVLPInputs
) -> None:
    e2e_vlp.eval()
    task = with_settings(e2e_vlp_task, label_smoothing=0.3)
    seen = e2e_vlp.see(inputs.images, inputs.grid, inputs.image_sizes)
    memory = e2e_vlp.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
    logits = e2e_vlp.caption_logits(
        inputs.caption_ids,
        inputs.caption_packing,
        memory[inputs.image_rows],
        inputs.grid,
        inputs.image_packing,
    )
    expected = mean_cross_entropy(logits, inputs.caption_targets, label_smoothing=0.3)
    losses = learn(task, inputs).losses
    torch.testing.assert_close(losses["captioning"], expected)
    plain = learn(e2e_vlp_task, inputs).losses["captioning"]
    assert not torch.isclose(losses["captioning"], plain, rtol=1e-5)


def test_the_objectives_weights_reach_the_set_loss(
    e2e_vlp: E2EVLP, e2e_vlp_task: E2EVLPPretraining, inputs: E2EVLPInputs
) -> None:
    e2e_vlp.eval()
    only_boxes = with_settings(
        e2e_vlp_task, class_weight=0.0, giou_weight=0.0, attribute_weight=0.0, bbox_weight=7.0
    )
    doubled = with_settings(only_boxes, bbox_weight=14.0)
    one, two = (learn(task, inputs).losses for task in (only_boxes, doubled))
    torch.testing.assert_close(two["detection"], 2 * one["detection"])
    assert one["detection"] > 0


def test_boxes_found_where_they_are_score_one(
    e2e_vlp_task: E2EVLPPretraining, inputs: E2EVLPInputs
) -> None:
    """Each query of the last layer answers with a box of its own picture, surely and rightly."""
    pytest.importorskip("faster_coco_eval")
    classes = len(e2e_vlp_task.train.class_names)
    queries = max(inputs.targets.counts)
    boxes = torch.zeros(2, B, queries, 4)
    logits = torch.zeros(2, B, queries, classes + 1)
    logits[1, :, :, classes] = 20.0
    of_image = zip(
        inputs.targets.boxes.split(inputs.targets.counts),
        inputs.targets.labels.split(inputs.targets.counts),
        strict=True,
    )
    for image, (own, labels) in enumerate(of_image):
        boxes[1, image, : len(own)] = own
        logits[1, image, range(len(own)), labels] = 40.0
    score = AveragePrecision(e2e_vlp_task.train.class_names)
    found = Detections(logits=logits, boxes=boxes, attribute_logits=None)
    score.add(*shown_boxes(found, inputs))
    assert score.summary() == pytest.approx({"ap": 1.0, "ap50": 1.0})
    swapped = Detections(logits=logits, boxes=boxes.roll(1, 1), attribute_logits=None)
    other = AveragePrecision(e2e_vlp_task.train.class_names)
    other.add(*shown_boxes(swapped, inputs))
    assert other.summary()["ap"] < 0.5
