"""The two-stage baseline as a system: one trunk, and a tail for each way to suppress by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..harness import DisagreementError
from . import class_nms, region_reader, two_stage
from .ours import draw_picture, draw_text
from .plan import WORDS, Plan
from .region_reader import Kept, ReaderSizes, RegionReader
from .system import Agreement, Key, Stage, System
from .two_stage import Regions, TwoStage, TwoStageSizes

LOOP, EXACT, BEST_CLASS = "loop", "exact", "best class"
ON_DEVICE = "loop on the GPU"
NMS = "class_nms"
Way = Callable[..., Tensor]


def baseline(plan: Plan) -> System:
    """Detector and Transformer, from bytes of a picture and ids of words to rows."""
    sizes = two_stage.QUICK if plan.is_quick else TwoStageSizes()
    reading = region_reader.QUICK if plan.is_quick else ReaderSizes()
    torch.manual_seed(0)
    detector = _on_device(TwoStage(plan.size, sizes), plan.device)
    reader = RegionReader(reading, words=WORDS, size=plan.size).eval().requires_grad_(False)
    reader.on(plan.device)
    text = draw_text(reading.vocabulary).to(plan.device)
    ways: dict[str, Way] = {
        LOOP: class_nms.loop,
        EXACT: class_nms.exact,
        BEST_CLASS: class_nms.best_class,
    }
    if plan.device == "cuda":
        ways[ON_DEVICE] = class_nms.loop_on_device
    return System(
        trunk={"cnn": detector.see, "proposals": detector.propose, "head": detector.look},
        tails={
            name: _tail(way, reading.boxes, lambda kept: reader(text, kept))
            for name, way in ways.items()
        },
        draw=partial(draw_picture, plan),
        check=partial(check, plan, sizes, reading),
    )


def check(
    plan: Plan, sizes: TwoStageSizes, reading: ReaderSizes, made: Mapping[Key, Any]
) -> Mapping[Key, Agreement]:
    """Stages make what the published network's make; `exact` keeps what `loop` keeps."""
    height, width = (-(-pixels // two_stage.STRIDE) for pixels in plan.size)
    regions: Regions = made[Key("", "head")]
    _same("res4", made[Key("", "cnn")][0], (1, 1024, height, width))
    _same("proposals", made[Key("", "proposals")].boxes, (sizes.proposals, 4))
    _same("features", regions.features, (sizes.proposals, 2048))
    _same("scores", regions.scores, (sizes.proposals, sizes.classes + 1))
    _same("deltas", regions.deltas, (sizes.proposals, 4 * (sizes.classes + 1)))
    _same("attributes", regions.attributes, (sizes.proposals, sizes.attributes + 1))
    kept = {key.way: value.chosen for key, value in made.items() if key.stage == NMS}
    confidence = class_nms.best_surviving(regions.boxes.cpu(), regions.scores.cpu())
    found = {way: _alike(way, chosen, kept[LOOP], confidence) for way, chosen in kept.items()}
    for key, rows in made.items():
        if key.stage == "transformer":
            _same(f"rows, {key.way}", rows, (WORDS + reading.boxes, reading.width))
    return {Key(way, NMS): agreement for way, agreement in found.items()}


def _alike(way: str, chosen: Tensor, expected: Tensor, confidence: Tensor) -> Agreement:
    """How many boxes are others than the loop's, and how far their scores are from its own.

    Raises:
        DisagreementError: if it is any, but for the way that is another rule.
    """
    wrong = 1 - float(torch.isin(chosen, expected).float().mean())
    difference = confidence[chosen.cpu()] - confidence[expected.cpu()]
    error = float(difference.abs().max())
    if way != BEST_CLASS and (wrong or error):
        raise DisagreementError(
            f"latency: {way} keeps {wrong:.0%} other boxes than the loop, whose scores differ by "
            f"{error:.3g}"
        )
    return Agreement(error, wrong)


def _tail(way: Way, count: int, read: Stage) -> Mapping[str, Stage]:
    def keep(regions: Regions) -> Kept:
        return Kept(regions, way(regions.boxes, regions.scores, count=count))

    return {NMS: keep, "transformer": read}


def _on_device(detector: TwoStage, device: str) -> TwoStage:
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return detector.to(device).eval().requires_grad_(False)


def _same(what: str, found: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(found.shape) != shape or not found.isfinite().all():
        raise DisagreementError(
            f"latency: {what} are {tuple(found.shape)}, or no numbers, expected {shape}"
        )
