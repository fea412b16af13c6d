"""Whether a loss of transformers is the one that ours is known to equal: both are tried.

Versions change losses without a change of their names. So both are computed of a few drawn
predictions, under the model's own configuration, before ours takes the other's place.

Shape suffixes: A decoder layers, B images, Q queries, C classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CLOSE = 1e-4
"""Of the largest value, in float32: transformers' loss of DETR takes no float64."""
COUNTS = (3, 1)


@dataclass(frozen=True)
class Probe:
    """How a loss of transformers is called."""

    has_no_object: bool = False
    """Whether the logits have one more, for "no object"."""
    is_image_first: bool = False
    """Whether predictions of all layers are (B, A, Q, ...); else (A, B, Q, ...)."""
    proposals: tuple[str, ...] = ()
    """Names of the logits and boxes of an encoder's proposals."""
    has_denoising: bool = False
    """Whether there are denoising queries, two groups of them."""


def disagreement(
    theirs: Callable[..., Any], ours: Callable[..., Any], config: Any, p: Probe
) -> str:
    """Says how two losses differ in names, values or gradients; empty if they do not.

    Args:
        theirs: of transformers.
        ours: that would take its place.
        config: of the model.
        p: how both are called.
    """
    found = []
    for loss in (theirs, ours):
        try:
            with torch.device("cpu"):  # whatever the default is
                found.append(_tried(loss, config, p))
        except Exception as error:  # whatever a foreign function raises is why it is left alone
            return f"its loss raises {type(error).__name__} when tried: {_first_line(error)}"
    expected, computed = found
    if list(expected) != list(computed):
        return f"its loss has the terms {_names(expected)}, known are {_names(computed)}"
    for name, value in expected.items():
        largest = float(value.abs().max().clamp(min=1e-3))
        if not bool(((computed[name] - value).abs() <= CLOSE * largest).all()):
            return f"its loss differs from the one that is known, in {name}"
    return ""


def _tried(loss: Callable[..., Any], config: Any, p: Probe) -> dict[str, Tensor]:
    """Terms, their total and its gradients, on a CPU, without a draw from the global generator."""
    draw = torch.Generator().manual_seed(0)
    groups = getattr(config, "group_detr", 1)
    layers, queries = getattr(config, "decoder_layers", 1), 4 * groups
    denoising = 2 * 2 * max(COUNTS) if p.has_denoising else 0
    classes = config.num_labels + p.has_no_object
    leaves = [
        torch.randn(layers, len(COUNTS), denoising + queries, classes, generator=draw),
        _boxes(layers, len(COUNTS), denoising + queries, draw=draw),
    ]
    leaves += [
        torch.randn(len(COUNTS), queries, classes, generator=draw),
        _boxes(len(COUNTS), queries, draw=draw),
    ]
    for leaf in leaves:
        leaf.requires_grad_()
    logits, boxes = (x.transpose(0, 1) if p.is_image_first else x for x in leaves[:2])
    labels = [
        {
            "class_labels": torch.randint(config.num_labels, (count,), generator=draw),
            "boxes": _boxes(count, draw=draw),
        }
        for count in COUNTS
    ]
    more: dict[str, Any] = dict(zip(p.proposals, leaves[2:], strict=False))
    if p.has_denoising:
        more["denoising_meta_values"] = _denoising(denoising, queries)
    last = (leaves[0][-1], labels, torch.device("cpu"), leaves[1][-1], config)
    with torch.enable_grad():
        total, terms, _ = loss(*last, logits, boxes, **more)
        gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    found = {name: value.detach().double() for name, value in terms.items()}
    found["the total"] = total.detach().double()
    for name, gradient in zip(("logits", "boxes", *p.proposals), gradients, strict=False):
        found[f"the gradient of {name}"] = torch.zeros(1) if gradient is None else gradient
    return found


def _boxes(*shape: int, draw: torch.Generator) -> Tensor:
    centre, size = (torch.rand(*shape, 2, generator=draw) for _ in range(2))
    return torch.cat([0.2 + 0.6 * centre, 0.05 + 0.35 * size], -1)


def _denoising(number: int, queries: int) -> Mapping[str, Any]:
    """Two groups of positive queries, each in front of as many negative ones."""
    half, longest = number // 2, max(COUNTS)
    return {
        "dn_positive_idx": tuple(
            torch.cat([torch.arange(count), half + torch.arange(count)]) for count in COUNTS
        ),
        "dn_num_group": 2,
        "dn_num_split": [4 * longest, queries],
    }


def _names(found: Mapping[str, Tensor]) -> str:
    return " ".join(list(found)[:4])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
