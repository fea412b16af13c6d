"""A trained model with its heads, its words, and where it computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from vlp_fast.data.printable import printable
from vlp_fast.data.tokenizer import Tokenizer, load_vocabulary
from vlp_fast.engine.config import TrainConfig
from vlp_fast.engine.precision import Precision, choose_precision
from vlp_fast.errors import InputError
from vlp_fast.inference.description import Description, read_description
from vlp_fast.inference.graphs import Graphs
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.tasks.downstream.classifiers import build_classifier
from vlp_fast.tasks.downstream.config import SampleTaskConfig
from vlp_fast.tasks.task import Learner
from vlp_fast.weights.checkpoints import MODEL, checkpoint_name, model_file

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A model that is asked, in eval mode.

    Attributes:
        about: what there is to know of it.
        model: on the device.
        classifier: the head of a task over samples, on the device; None of other tasks.
        tokenizer: its words.
        runtime: where it computes, and in which format.
        graphs: what of it is recorded.
    """

    about: Description
    model: VisionLanguageModel
    classifier: nn.Module | None
    tokenizer: Tokenizer
    runtime: Precision
    graphs: Graphs = field(default_factory=Graphs)

    @property
    def codes(self) -> bool:
        """SOHO: whether the encoder has learnt to read codes, not the features in front of them."""
        return getattr(self.about.task, "codes", True)


def load_trained(folder: Path, device: str = "auto", precision: str = "auto") -> Trained:
    """The model of a run's newest checkpoint, or of a folder that was exported.

    Args:
        folder: of either.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        precision: "fp32", "bf16" or "fp16"; "auto" for fp32 on a CPU, bf16 or fp16 on a GPU.

    Raises:
        InputError: if there is no such model, or its files do not fit one another.
    """
    about = read_description(folder)
    tokenizer = load_vocabulary(folder / "vocab.txt")
    if tokenizer.vocab_size != about.model.vocab_size:
        raise InputError(
            f"{printable(folder / 'vocab.txt')}: has {tokenizer.vocab_size:,} words, and the model "
            f"knows {about.model.vocab_size:,}; put the run's own back"
        )
    path = _weights(folder, about)
    check_fits(about, path)
    learner = _learner(about)
    _load(learner, path)
    learner.model.canvas_multiple = about.data.canvas_multiple
    learner.model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    runtime = _runtime(device, precision)
    learner.eval().requires_grad_(False).to(runtime.device)
    return _trained(about, learner, tokenizer, runtime)


def trained_of(about: Description, learner: Learner, tokenizer: Tokenizer) -> Trained:
    """A learner that is loaded already, in eval mode, where it is."""
    device = next(learner.parameters()).device
    return _trained(about, learner, tokenizer, _runtime(device.type, "auto"))


def _trained(
    about: Description, learner: Learner, tokenizer: Tokenizer, runtime: Precision
) -> Trained:
    return Trained(
        about=about,
        model=learner.model,
        classifier=learner.heads,
        tokenizer=tokenizer,
        runtime=runtime,
    )


def check_fits(about: Description, path: Path) -> None:
    """Refuse weights of other names and shapes than a model has, before it costs memory or time.

    A description may be a stranger's. A model of a million layers takes minutes even without
    memory, so no size is larger than the largest of the weights, and there are no more layers than
    tensors.

    Raises:
        InputError: naming what differs.
    """
    there = _shapes(path)
    largest = max((side for shape in there.values() for side in shape), default=0)
    for name, size in _sizes(asdict(about.model)):
        most = len(there) if name.endswith(("layers", "blocks")) else max(largest, len(there))
        if size > most:
            raise _unfit(path, f"{name} = {size:,}, and its largest is {most:,}")
    try:
        with torch.device("meta"):
            described = {n: tuple(v.shape) for n, v in _learner(about).state_dict().items()}
    except ValueError as error:  # of a layer: settings that none can have, as a dropout of 1
        raise _unfit(path, str(error)) from None
    for name in sorted(there.keys() | described.keys()):
        if there.get(name) != described.get(name):
            raise _unfit(
                path, f"{name}: {there.get(name, 'missing')}, not {described.get(name, 'known')}"
            )


def _weights(folder: Path, about: Description) -> Path:
    """The file of weights that a description is of, also where a run goes on in the meantime."""
    checkpoint = folder / checkpoint_name(about.step)
    return model_file(checkpoint) if checkpoint.is_dir() else folder / MODEL


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Of the tensors of a file, unread."""
    try:
        with safe_open(path, "pt") as file:
            return {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _unfit(path, str(error)) from None


def _sizes(settings: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The whole numbers of a configuration, those of parts and tuples too."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _sizes(value)
        else:
            several = value if isinstance(value, list | tuple) else (value,)
            yield from ((name, one) for one in several if type(one) is int)


def _learner(about: Description) -> Learner:
    return Learner(about.model.build(), _classifier(about))


def _classifier(about: Description) -> nn.Module | None:
    task = about.task
    if not isinstance(task, SampleTaskConfig):
        return None
    width, classes = about.model.width, len(task.classes(about.answers))
    return build_classifier(task.head, width, classes, pictures=task.pictures)


def _load(learner: Learner, path: Path) -> None:
    try:
        learner.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _unfit(path, str(error).splitlines()[:2][-1].strip()) from None


def _unfit(path: Path, reason: str) -> InputError:
    return InputError(
        f"{printable(path)}: does not hold the model that its folder describes "
        f"({printable(reason[:160])}); put a copy back, or export it again"
    )


def _runtime(device: str, precision: str) -> Precision:
    for name, value, known in (("device", device, DEVICES), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise ValueError(f"load: received {name} = {value!r}, expected one of {known}")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: torch sees no GPU; use cpu, or ask `vlp-fast doctor` why")
    chosen = choose_precision(TrainConfig(device=device, precision=precision))  # type: ignore[arg-type]
    if precision == "auto" and chosen.device.type == "cpu":
        return Precision(device=chosen.device, dtype=torch.float32)
    return chosen
