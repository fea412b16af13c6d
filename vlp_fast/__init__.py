"""E2E-VLP and SOHO: vision-language pre-training from pixels, with layers other people can use.

The public names below are imported on first use (PEP 562), so that ``import vlp_fast`` and
``vlp-fast --help`` need no torch.

    _C.pyi         signatures of the native code
    __main__.py    python -m vlp_fast
    checks.py      ranges of settings
    cli/           the command vlp-fast, a file a command
    data/          from files to tensors
    dali_build.py  which build of DALI is installed
    demo/          a page on which visitors ask trained models
    doctor.py      vlp-fast doctor
    engine/        time: steps, evaluation, checkpoints
    errors.py      errors that are one line for the user
    inference/     a trained model is asked about pictures
    layers/        modules, each usable on its own
    metrics/       figures from predictions and truth
    models/        one file is a paper's figure
    native.py      the one place that imports vlp_fast._C
    ops/           operators: schema, backends, public function
    recipes/       functions that return a whole RunConfig
    reference/     the definitions in plain torch
    swaps/         modules of other libraries that run on ours
    tasks/         what a run learns
    threads.py     how threads of a CPU wait
    viz/           a run as a page
    weights/       a model starts from weights that people have
    whole_file.py  files written whole or not at all
    kernels/       Triton programs, from kernels/
    benchmarks/    every operator beside its peers, from benchmarks/
"""

__version__ = "0.1.0"

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlp_fast import ops
    from vlp_fast.inference.create import create_model
    from vlp_fast.inference.predictor import Predictor, load
    from vlp_fast.layers.attention import CrossAttention, GridAttention
    from vlp_fast.layers.attention_maps import attention_maps
    from vlp_fast.layers.criterion import SetCriterion
    from vlp_fast.layers.matching import HungarianMatcher
    from vlp_fast.layers.vector_quantize import VectorQuantize
    from vlp_fast.layers.visual_dictionary import VisualDictionary
    from vlp_fast.ops.assignment import linear_sum_assignment
    from vlp_fast.swaps.accelerate import accelerate

__all__ = [
    "CrossAttention",
    "GridAttention",
    "HungarianMatcher",
    "Predictor",
    "SetCriterion",
    "VectorQuantize",
    "VisualDictionary",
    "__version__",
    "accelerate",
    "attention_maps",
    "create_model",
    "linear_sum_assignment",
    "load",
    "ops",
]

_MODULE_OF = {
    "CrossAttention": "vlp_fast.layers.attention",
    "GridAttention": "vlp_fast.layers.attention",
    "HungarianMatcher": "vlp_fast.layers.matching",
    "Predictor": "vlp_fast.inference.predictor",
    "SetCriterion": "vlp_fast.layers.criterion",
    "VectorQuantize": "vlp_fast.layers.vector_quantize",
    "VisualDictionary": "vlp_fast.layers.visual_dictionary",
    "accelerate": "vlp_fast.swaps.accelerate",
    "attention_maps": "vlp_fast.layers.attention_maps",
    "create_model": "vlp_fast.inference.create",
    "linear_sum_assignment": "vlp_fast.ops.assignment",
    "load": "vlp_fast.inference.predictor",
}


def __getattr__(name: str) -> Any:
    if name == "ops":
        return import_module("vlp_fast.ops")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'vlp_fast' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
