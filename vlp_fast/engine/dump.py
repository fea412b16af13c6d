"""A step that was skipped, written down so that it can be repeated: `vlp-fast replay DUMP`.

A dump is a run folder of its own: dump.json says which samples, seeds and losses the step had and
what each module gave, and beside it lies the checkpoint of the weights that it was computed with.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlp_fast.engine.best import OF_A_RUN
from vlp_fast.engine.checkpoint import clear
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.module_watch import Seen
from vlp_fast.engine.rerun import Shard, Which
from vlp_fast.engine.tensor_summary import Summary
from vlp_fast.whole_file import sync, write_json

RECORD = "dump.json"
PARTIAL = ".dump.partial"

Found = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""Shards, and modules over all of them, as dump.json has them."""


def dump_name(step: int, rollbacks: int) -> str:
    """What the folder of a step is called; after a rollback a step has another."""
    return f"dump-{step:08d}" + (f".{rollbacks}" if rollbacks else "")


def described(shards: Sequence[Shard]) -> Found:
    """What is written of shards: of each by itself, and of each module over all of them."""
    return [_shard(shard) for shard in shards], _modules(shards)


def merged(parts: Sequence[Found]) -> Found:
    """What several processes have found of shards of one step."""
    shards = [shard for part, _ in parts for shard in part]
    modules: dict[str, dict[str, Any]] = {}
    for _, part in parts:
        for row in part:
            known = modules.setdefault(row["module"], {})
            for name, value in row.items():
                both = isinstance(value, dict) and name in known
                known[name] = (Summary(**known[name]) + Summary(**value)).state() if both else value
    return shards, list(modules.values())


def header(experiment: Experiment, which: Which, reason: str) -> dict[str, Any]:
    """What dump.json says of the step as a whole."""
    run, precision = experiment.run, experiment.precision
    return {
        "recipe": run.name,
        "step": which.step,
        "position": which.position,
        "reason": reason,
        "objective": type(experiment.phase(which.step - 1).objective).__name__,
        "shards_a_step": run.train.shards,
        "samples_a_shard": run.train.batch_size,
        "processes": experiment.world.count,
        "seed": run.train.seed,
        "device": precision.device.type,
        "precision": str(precision.dtype).removeprefix("torch."),
        "scale": which.scale,
    }


def prepare(folder: Path, run_folder: Path) -> Path:
    """An empty folder beside the dump, with what makes it a run folder; to be filled, and `finish`.

    Raises:
        OSError: if it cannot be written.
    """
    partial = folder.with_name(PARTIAL)
    clear(partial)
    partial.mkdir(parents=True)
    for name in OF_A_RUN:
        if (run_folder / name).exists():
            shutil.copyfile(run_folder / name, partial / name)
    return partial


def finish(partial: Path, folder: Path, values: dict[str, Any]) -> None:
    """Write dump.json, and give the folder its name.

    Raises:
        OSError: if it cannot be written.
    """
    write_json(partial / RECORD, strict(values))
    clear(folder)
    partial.rename(folder)
    sync(folder.parent)


def give_up(folder: Path) -> None:
    """Delete what is there of a dump that cannot be written."""
    with contextlib.suppress(OSError):
        clear(folder.with_name(PARTIAL))


def read(folder: Path) -> dict[str, Any]:
    """What dump.json says.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no json.
    """
    values: dict[str, Any] = json.loads((folder / RECORD).read_text())
    return values


def strict(value: Any) -> Any:
    """The value with None for each number that is not finite, which json has not."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [strict(part) for part in value]
    return value


def _shard(shard: Shard) -> dict[str, Any]:
    return {
        "shard": shard.number,
        "seed": shard.seed,
        "samples": list(shard.samples),
        "problems": list(shard.problems),
        "losses": shard.losses,
        "gradient_norm": shard.norm,
        "first_not_finite": _seen(shard.first, shard) if shard.first else None,
    }


def _seen(seen: Seen, shard: Shard) -> dict[str, Any]:
    return {
        "module": seen.module,
        "kind": seen.kind,
        "what": seen.what,
        **seen.summary.state(),
        "input_is_finite": seen.is_fed_finite,
        "samples": [shard.samples[row] for row in seen.rows],
    }


def _modules(shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """A row a module, in the order in which they are called."""
    kinds: dict[str, str] = {}
    found: dict[str, dict[str, Summary]] = defaultdict(lambda: defaultdict(Summary))
    for seen in (seen for shard in shards for seen in shard.seen):
        kinds[seen.module] = kinds.get(seen.module) or seen.kind
        found[seen.module][seen.what] += seen.summary
    return [
        {"module": name, "kind": kinds[name], **{what: x.state() for what, x in of.items()}}
        for name, of in found.items()
    ]
