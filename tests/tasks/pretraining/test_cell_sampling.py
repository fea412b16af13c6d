"""Random cells of a picture in place of all: in training, for words and matching."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rebuilt import with_settings

from vlp_fast.data.examples import Example
from vlp_fast.engine.config import RunConfig
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.pretraining.config import E2EVLPPretrainingConfig, SohoPretrainingConfig
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.pretraining.soho import SohoPretraining

MOST = 5
TRAINING, EVALUATION = 0, None


@pytest.fixture(params=["soho", "e2e_vlp", "e2e_vlp captioning"])
def task(
    request: pytest.FixtureRequest, soho_task: SohoPretraining, e2e_vlp_task: E2EVLPPretraining
) -> Any:
    """A task that samples cells."""
    if request.param == "soho":
        return with_settings(soho_task, sampled_cells=MOST, masked_codes=False)
    captioning = "captioning" in request.param
    return with_settings(e2e_vlp_task, sampled_cells=MOST, detection=False, captioning=captioning)


def batch(task: Any, examples: list[Example], step: int | None = TRAINING, epoch: int = 0) -> Any:
    return task.collate(examples, BatchKey(task.train, epoch, step))


def cells_of(inputs: Any) -> list[list[int]]:
    """Of each sequence, its cells by their number in their own image."""
    firsts = [0]
    for height, width in inputs.grid.sizes:
        firsts.append(firsts[-1] + height * width)
    parts = inputs.packing.grid_cells.split(inputs.packing.grid_lengths)
    return [
        (part - firsts[image]).tolist()
        for part, image in zip(parts, inputs.packing.image_of, strict=True)
    ]


def joint(task: Any, inputs: Any) -> list[list[int]]:
    """Those of sequences with a text."""
    lengths = inputs.packing.text_lengths
    return [c for c, length in zip(cells_of(inputs), lengths, strict=True) if length]


def test_texts_are_read_beside_some_cells_of_their_picture(
    task: Any, examples: list[Example]
) -> None:
    inputs = batch(task, examples[:8])
    found = joint(task, inputs)
    areas = [height * width for height, width in inputs.grid.sizes]
    assert min(areas) > MOST
    lengths = inputs.packing.text_lengths
    images = [i for i, n in zip(inputs.packing.image_of, lengths, strict=True) if n]
    for cells, image in zip(found, images, strict=True):
        assert len(cells) == MOST
        assert cells == sorted(set(cells))
        assert 0 <= cells[0] <= cells[-1] < areas[image]
    assert len({tuple(cells) for cells in found}) == 8  # others for each picture, not each text
    by_image = {image: cells for cells, image in zip(found, images, strict=True)}
    assert all(by_image[image] == cells for cells, image in zip(found, images, strict=True))
    used = {cell for cells in found for cell in cells}
    assert len(used) > 2 * MOST
    alone = [c for c, n in zip(cells_of(inputs), lengths, strict=True) if not n]
    assert [len(cells) for cells in alone] == areas[: len(alone)]  # captions are written from all


def test_a_draw_is_of_its_picture_and_epoch(task: Any, examples: list[Example]) -> None:
    """Neither of its place in a batch, nor of the others, nor of the step."""
    first = joint(task, batch(task, examples[:4]))
    again = joint(task, batch(task, examples[:4], step=77))
    assert first == again
    each = len(first) // 4
    alone = joint(task, batch(task, examples[2:3]))
    assert alone == first[2 * each : 3 * each]
    assert joint(task, batch(task, examples[:4], epoch=1)) != first
    other = replace(task.setup, seed=99)
    task.setup = other
    assert joint(task, batch(task, examples[:4])) != first


def test_all_else_is_drawn_as_without(task: Any, examples: list[Example]) -> None:
    plain = with_settings(task, sampled_cells=None)
    ours, theirs = batch(task, examples[:6]), batch(plain, examples[:6])
    for name in ("text_ids", "masked_targets", "is_matched", "images"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.packing.num_rows < theirs.packing.num_rows


def test_evaluation_reads_all_cells(task: Any, examples: list[Example]) -> None:
    plain = with_settings(task, sampled_cells=None)
    ours = batch(task, examples[:6], EVALUATION)
    theirs = batch(plain, examples[:6], EVALUATION)
    assert torch.equal(ours.packing.grid_cells, theirs.packing.grid_cells)
    task.learner.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            task.learner(task, ours).total, plain.learner(plain, theirs).total, rtol=0, atol=0
        )


def test_small_pictures_keep_all_their_cells(task: Any, examples: list[Example]) -> None:
    many = with_settings(task, sampled_cells=10_000)
    plain = with_settings(task, sampled_cells=None)
    ours, theirs = batch(many, examples[:6]), batch(plain, examples[:6])
    assert torch.equal(ours.packing.grid_cells, theirs.packing.grid_cells)


def test_rows_that_are_predicted_are_the_masked_words(task: Any, examples: list[Example]) -> None:
    """Shorter sequences begin elsewhere: rows of words and of [CLS] must move with them."""
    inputs = batch(task, examples[:6])
    rows = torch.full((inputs.packing.num_rows,), -1)
    rows[inputs.packing.text_rows] = inputs.text_ids
    assert (rows[inputs.masked_rows] >= 0).all()
    assert (
        rows[inputs.packing.first_rows[: len(inputs.is_matched)]] == task.tokenizer.cls_id
    ).all()
    masked = rows[inputs.masked_rows]
    assert (masked == task.tokenizer.mask_id).float().mean() > 0.5


def test_only_chosen_cells_are_read(task: Any, examples: list[Example]) -> None:
    """Whatever the others hold; and the losses learn from them."""
    inputs = batch(task, examples[:4])
    model, text_rows = task.learner.model.eval(), inputs.packing.text_rows
    with torch.no_grad():
        seen = model.see(inputs.images, inputs.grid, inputs.image_sizes)
        expected = model.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
        joint_cells = inputs.packing.grid_cells[: MOST * len(joint(task, inputs))]
        hidden = torch.ones(len(seen.cells), dtype=torch.bool)
        hidden[joint_cells] = False
        assert hidden.any()
        spoilt = replace(seen, cells=torch.where(hidden[:, None], 1e3, seen.cells))
        found = model.read(inputs.text_ids, spoilt, inputs.grid, inputs.packing)
    torch.testing.assert_close(found[text_rows], expected[text_rows], rtol=0, atol=0)
    task.learner.train()
    output = task.learner(task, inputs)
    assert set(output.losses) <= {"mlm", "itm", "captioning"}
    output.total.backward()
    assert task.learner.model.backbone.conv1.weight.grad.abs().sum() > 0


def test_objectives_that_need_all_cells_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"sampled_cells = 9 with detection = True, .*--task\.no-det"
    ):
        E2EVLPPretrainingConfig(sampled_cells=9)
    with pytest.raises(ValueError, match=r"sampled_cells = 9 with masked_codes = True"):
        SohoPretrainingConfig(sampled_cells=9)
    with pytest.raises(ValueError, match="received sampled_cells = 0, expected 1 or more"):
        SohoPretrainingConfig(sampled_cells=0, masked_codes=False)


def test_soho_without_masked_codes_hides_no_cell(
    soho_task: SohoPretraining, examples: list[Example]
) -> None:
    task = with_settings(soho_task, masked_codes=False)
    task.learner.eval()
    inputs = batch(task, examples[:4])
    with torch.no_grad():
        output = task.learner(task, inputs)
        seen = task.model.see(inputs.images, inputs.grid, inputs.image_sizes)
        rows = task.model.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
    assert set(output.losses) == set(output.counts) == {"mlm", "itm"}
    logits = task.model.match_logits(rows[inputs.packing.first_rows])
    expected = torch.nn.functional.cross_entropy(logits, inputs.is_matched)
    torch.testing.assert_close(output.losses["itm"], expected)


def test_pictures_alone_are_encoded_where_somebody_reads_them(
    e2e_vlp_task: E2EVLPPretraining, examples: list[Example]
) -> None:
    neither = with_settings(
        e2e_vlp_task, detection=False, captioning=False, image_only_detection_rate=1.0
    )
    inputs = batch(neither, examples[:4])
    assert inputs.packing.num_sequences == 4
    assert neither.learner(neither, inputs).total.isfinite()
    assert batch(e2e_vlp_task, examples[:4]).packing.num_sequences == 8


@pytest.mark.parametrize(
    ("name", "off"), [("soho_tiny", "masked_codes"), ("e2e_vlp_tiny", "detection")]
)
def test_a_run_says_that_it_samples(
    micro: Callable[..., RunConfig], tmp_path: Path, name: str, off: str
) -> None:
    from vlp_fast.engine.experiment import build_experiment

    run = micro(name, tmp_path)
    run = replace(run, task=replace(run.task, sampled_cells=7, **{off: False}))
    (note,) = [note for note in build_experiment(run).notes if "sampled-cells" in note]
    assert note == (
        "train: masked words and matching read at most 7 cells of a picture, drawn anew each time "
        "it is shown (--task.sampled-cells); evaluation reads all"
    )
