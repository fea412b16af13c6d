"""What the model is shown when it is asked: the same batches as in training."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.models.config import SohoConfig, official
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.encoding import encode_images, encode_pairs
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPInputs

Make = Callable[..., RunConfig]


@pytest.mark.parametrize(("published", "padded"), [(False, (50, 60)), (True, (64, 64))])
@torch.no_grad()
def test_pictures_are_padded_as_in_training(
    micro: Make, tmp_path: Path, published: bool, padded: tuple[int, int]
) -> None:
    run = micro("soho_tiny", tmp_path)
    assert isinstance(run.model, SohoConfig)
    if published:
        run = replace(run, model=official(run.model))
    experiment = build_experiment(run)
    model = experiment.learner.model.eval()
    examples = [
        replace(e, image=e.image[:, :50, : 60 - 10 * i])
        for i, e in enumerate(experiment.held_out().examples(2))
    ]
    seen: list[torch.Size] = []
    model.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    hidden, starts = encode_pairs(model, experiment.precision, [[1, 5, 2], [1, 2]], examples)
    assert seen == [(2, 3, *padded)]
    (height, width), (height2, width2) = model.grid_sizes([(50, 60), (50, 50)], padded)[0]
    assert starts == (0, 3 + height * width)
    assert len(hidden) == starts[1] + 2 + height2 * width2


@torch.no_grad()
def test_pictures_alone_are_those_of_the_caption_pass(micro: Make, tmp_path: Path) -> None:
    experiment = build_experiment(micro("e2e_vlp_tiny", tmp_path, precision="fp32"))
    model = experiment.learner.model.eval()
    examples = experiment.held_out().examples(3)
    key = BatchKey(experiment.task.held_out, 0, None)
    inputs = experiment.task.collate(examples, key).to(experiment.precision.device)
    assert isinstance(inputs, E2EVLPInputs)
    seen = model.see(inputs.images, inputs.grid, inputs.image_sizes)
    every = model.read(inputs.text_ids, seen, inputs.grid, inputs.packing)
    memory, grid, packing = encode_images(model, experiment.precision, examples)
    assert packing.lengths == inputs.image_packing.lengths
    assert grid.sizes == inputs.grid.sizes
    torch.testing.assert_close(memory, every[inputs.image_rows])
