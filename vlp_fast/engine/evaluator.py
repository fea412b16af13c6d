"""Held-out evaluation: losses, accuracies, matching, detection AP, dictionary, drawn world."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from vlp_fast.engine.average_precision import AveragePrecision
from vlp_fast.engine.averages import Averages
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.grounding import grounding_figures
from vlp_fast.engine.whole_text_matching import whole_text_matching
from vlp_fast.layers.perplexity import perplexity
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.ops.packing import select_sequences
from vlp_fast.tasks.detection import predictions
from vlp_fast.tasks.e2e_vlp import E2EVLPInputs
from vlp_fast.tasks.soho import SohoInputs

Figures = dict[str, float]


@torch.no_grad()
def evaluate(
    experiment: Experiment, report: Callable[[Iterable[str]], None] = lambda _: None
) -> Figures:
    """Every held-out figure of the run; the model is left in the mode it was in.

    Held-out images that are broken are replaced, and `report` gets a line for each.
    On the drawn world, whose truth is known, the figures of `grounding_figures` are added.
    """
    model = experiment.model
    was_training = model.training
    model.eval()
    figures = _losses(experiment, report)
    if isinstance(model, E2EVLP) and experiment.run.objective.detection:  # type: ignore[union-attr]
        figures |= _detection(experiment, model)
    if isinstance(model, Soho):
        figures |= _dictionary(experiment, model)
    figures |= whole_text_matching(experiment) | grounding_figures(experiment)
    model.train(was_training)
    return figures


def _losses(experiment: Experiment, report: Callable[[Iterable[str]], None]) -> Figures:
    averages = Averages()
    for _, batch in experiment.held_out_batches():
        report(batch.problems)
        inputs = batch.to(experiment.precision.device)
        with experiment.precision.autocast():
            averages.add_output(
                experiment.held_out_objective.forward(experiment.model, inputs)  # type: ignore[arg-type]
            )
    return averages.means()


def _detection(experiment: Experiment, model: E2EVLP) -> Figures:
    """AP and AP50 from the image-only encoding, and with the batch's texts (half are foreign)."""
    names = experiment.held_out.class_names
    joint = AveragePrecision(names)
    alone = AveragePrecision(names)
    for _, batch in experiment.held_out_batches():
        inputs = batch.to(experiment.precision.device)
        assert isinstance(inputs, E2EVLPInputs)
        with experiment.precision.autocast():
            cells = model.features(inputs.images, inputs.grid, inputs.image_sizes)
            memory = model.encode(inputs.text_ids, cells, inputs.grid, inputs.packing)
            texts = range(len(inputs.image_ids))
            for rows, packing, score in (
                (*select_sequences(inputs.packing, texts), joint),
                (inputs.image_rows, inputs.image_packing, alone),
            ):
                found = model.detect(memory[rows], inputs.grid, packing)
                attributes = found.attribute_logits
                last = None if attributes is None else attributes[-1]
                shown = predictions(found.logits[-1], found.boxes[-1], last)
                score.add(inputs.image_ids, inputs.image_sizes, inputs.targets, shown)
    figures = {f"{name}_with_text": value for name, value in joint.summary().items()}
    return {**alone.summary(), **figures}


def _dictionary(experiment: Experiment, model: Soho) -> Figures:
    """Codes in use and perplexity over the held-out images."""
    hits = torch.zeros(model.config.num_codes, dtype=torch.float64)
    for _, batch in experiment.held_out_batches():
        inputs = batch.to(experiment.precision.device)
        assert isinstance(inputs, SohoInputs)
        with experiment.precision.autocast():
            tokens = model.embed_image(inputs.images, inputs.grid, inputs.image_sizes)
        hits += torch.bincount(tokens.indices.cpu(), minlength=hits.numel())
    return {
        "perplexity": float(perplexity(hits)),
        "used_codes": float((hits > 0).sum()),
        "majority_code_share": float(hits.max() / hits.sum().clamp(min=1)),
    }
