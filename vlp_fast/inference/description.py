"""What there is to know of a trained model besides its weights, from a run's folder or an exported.

An exported folder's config.json holds it all; of a run, run.json and the state of its newest
checkpoint do.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlp_fast import __version__
from vlp_fast.data.config import DataConfig
from vlp_fast.data.printable import printable
from vlp_fast.engine.recorded_run import (
    UnknownKind,
    kind_names,
    not_imported,
    rebuilt,
    restore_parts,
    restore_run,
)
from vlp_fast.errors import InputError
from vlp_fast.models.config import ModelConfig
from vlp_fast.tasks.config import TaskConfig
from vlp_fast.weights.checkpoints import newest_checkpoint, read_state

CONFIG = "config.json"
PROGRAM = "program.pt2"
SHOWN = ("shorter_held_out", "longer", "max_pixels", "canvas_multiple", "max_text_length")
"""Settings of data by which pictures and texts are shown to a model."""
NAMES = ("classes", "attributes", "answers")
"""What outputs stand for, as state.json calls it."""
LARGEST_SIDE = 8192
"""Pixels to which a stranger's settings may enlarge a picture."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A trained model but for its weights and words.

    Attributes:
        recipe: by which it was trained.
        step: after which these weights were kept.
        model: its configuration.
        task: what it learnt last.
        data: how pictures and texts are shown to it; of an exported model nothing else is known.
        classes, attributes, answers: what outputs stand for, in their order.
    """

    recipe: str
    step: int
    model: ModelConfig
    task: TaskConfig
    data: DataConfig
    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What an exported folder keeps; `read_description` turns it back."""
        shown = {name: getattr(self.data, name) for name in SHOWN}
        names = {name: list(getattr(self, name)) for name in NAMES}
        return {
            "vlp_fast": __version__,
            "recipe": self.recipe,
            "step": self.step,
            "kinds": kind_names(self),
            "config": {"model": asdict(self.model), "task": asdict(self.task), "data": shown},
            **names,
        }


def read_description(folder: Path) -> Description:
    """Of a run's newest checkpoint, or of an exported model.

    Nothing of the folder is run. A run of a recipe of one's own is known where its file has been.

    Raises:
        InputError: if the folder is neither, or of a version with other settings.
    """
    import vlp_fast.recipes  # noqa: F401  (whose tasks a folder may name)

    if (folder / CONFIG).is_file() and not (folder / "run.json").exists():
        return _of_exported(folder / CONFIG)
    return _of_run(folder)


def _of_run(folder: Path) -> Description:
    run = restore_run(folder)
    found = newest_checkpoint(folder)
    if found is None:
        raise InputError(f"{printable(folder)}: no complete checkpoint; train first")
    state = read_state(found)
    return Description(
        recipe=run.name,
        step=state["step"],
        model=run.model,
        task=run.task,
        data=run.data,
        **{name: tuple(state.get(name) or ()) for name in NAMES},
    )


def _of_exported(path: Path) -> Description:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        parts = restore_parts(kept["kinds"], kept["config"])
        shown = {n: kept["config"]["data"][n] for n in SHOWN}
        names: dict[str, Any] = {name: tuple(map(str, kept[name])) for name in NAMES}
        data = rebuilt(DataConfig, shown)
        found = Description(
            recipe=str(kept["recipe"]), step=int(kept["step"]), data=data, **parts, **names
        )
        _check_limits(found)
        return found
    except UnknownKind as error:
        raise InputError(f"{printable(path)}: {not_imported(error)}") from None
    except (TypeError, ArithmeticError, ValueError, LookupError, OSError, RecursionError) as error:
        raise InputError(
            f"{printable(path)}: does not describe a model that this version knows "
            f"({printable(error)}); export it again with this version"
        ) from None


def _check_limits(about: Description) -> None:
    """Raises ValueError for what would cost memory without end, or names that outputs lack."""
    data, model = about.data, about.model
    sides = (data.longer or 0, data.canvas_multiple, *(data.shorter_held_out or ()))
    if max(sides) > LARGEST_SIDE:
        raise ValueError(f"pictures of {max(sides):,} pixels a side, expected {LARGEST_SIDE:,}")
    if data.max_text_length > model.max_positions:
        raise ValueError(f"texts of {data.max_text_length:,} tokens, the model has fewer positions")
    if "detect" not in about.task.abilities:
        return
    for name in ("classes", "attributes"):
        outputs, names = getattr(model, f"num_{name}"), getattr(about, name)
        if len(names) < outputs:
            raise ValueError(f"{len(names):,} names for {outputs:,} {name}")
