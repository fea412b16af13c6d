"""`vlp_fast.accelerate`: modules of other libraries in a model run on ours, in place."""

import sys
from collections import Counter
from importlib import import_module

from torch import nn

from vlp_fast.errors import InputError
from vlp_fast.swaps.report import Line, Report
from vlp_fast.swaps.swap import Swap, undo_all

KINDS = (
    ("torch", "torch_attention", "TorchAttention"),
    ("transformers.loss", "detection", "DetectionLosses"),
    ("transformers.models.bert.modeling_bert", "bert", "BertAttention"),
    ("vector_quantize_pytorch", "vector_quantize", "EmaQuantizers"),
)
"""Module of a library, file and class of each kind of swap. A file is read only if that module is
in use: a model cannot hold what nobody has imported."""
NAMES_SHOWN = 12


def accelerate(model: nn.Module, strict: bool = True) -> Report:
    """Makes modules of other libraries run on ours, in this instance of a model alone.

    Parameters and buffers stay the same objects under the same names, so that an optimizer, a
    checkpoint and DistributedDataParallel notice nothing; `print(model)` shows the new classes. No
    class or function of another library is changed.

    >>> report = vlp_fast.accelerate(model)
    >>> print(report)        # a line for each module that is known: what it became, or why not
    >>> report.restore()     # the old modules, bit for bit

    Swapped are, where the report does not say otherwise: `nn.MultiheadAttention`,
    `nn.TransformerEncoderLayer` and `nn.TransformerEncoder` under padding masks; of transformers
    the losses of DETR, Conditional, Deformable and DAB DETR, Table Transformer, YOLOS, RT-DETR,
    LW-DETR and RF-DETR, and BERT's self-attention over padded batches; VectorQuantize of
    vector-quantize-pytorch with moving averages. What would not give the same numbers is left, but
    rows of padding behind attention, which nobody should read, do hold others (docs/layers.md).

    Args:
        model: looked through with all it holds; changed in place.
        strict: raise if nothing can be swapped, in place of an empty report.

    Returns:
        The report.

    Raises:
        InputError: model is no module; strict, and nothing was swapped: it says what was looked at.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"accelerate: received a {type(model).__name__}, expected a torch.nn.Module; pass the "
            "model itself"
        )
    modules = dict(model.named_modules())
    lines: list[Line] = []
    try:
        for path, module in modules.items():
            lines += [_line(swap, path, module) for swap in _swaps() if swap.knows(module)]
    except BaseException:
        undo_all([line.change.undo for line in lines if line.change is not None])
        raise
    report = Report(lines, len(modules))
    if strict and not report:
        raise InputError(_nothing(modules, report))
    return report


def _swaps() -> list[Swap]:
    return [
        getattr(import_module(f"vlp_fast.swaps.{file}"), name)()
        for library, file, name in KINDS
        if library in sys.modules
    ]


def _line(swap: Swap, path: str, module: nn.Module) -> Line:
    name = type(module).__name__
    try:
        reason = swap.refusal(module)
    except AttributeError as error:  # of another version of its library
        reason = f"it is built otherwise than is known: {str(error).splitlines()[0]}"
    if reason:
        return Line(path, name, None, reason)
    return Line(path, name, swap.apply(module))


def _nothing(modules: dict[str, nn.Module], report: Report) -> str:
    """On one line, what was looked at."""
    if report.lines:
        left = [f"{line.path or '(model)'} ({line.module}): {line.reason}" for line in report.lines]
        found = f"of {len(modules)} modules only these are known, and left: {_some(left)}"
    else:
        classes = Counter(type(module).__name__ for module in modules.values())
        seen = [f"{number} {name}" for name, number in classes.most_common()]
        found = f"none of {len(modules)} modules is known: {_some(seen)}"
    return (
        f"accelerate: nothing was swapped, {found}; docs/layers.md lists what is, and strict=False "
        "gives an empty report"
    )


def _some(words: list[str]) -> str:
    more = len(words) - NAMES_SHOWN
    shown = ", ".join(words[:NAMES_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
