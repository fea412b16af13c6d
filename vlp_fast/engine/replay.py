"""A step that a run has written down, repeated: `vlp-fast replay DUMP`.

Samples, masks, dropout and weights are those of then; so is what is frozen. The shards are computed
one behind another in this process, however many processes the run had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlp_fast.engine import dump
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.module_watch import LOSS, OUTPUT, WEIGHTS, Seen
from vlp_fast.engine.phases import freeze_parts
from vlp_fast.engine.rerun import Shard, Which, rerun
from vlp_fast.engine.restore import restore_training
from vlp_fast.errors import InputError

FORMATS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
USABLE: dict[str, Callable[[Any], bool]] = {
    "step": lambda x: type(x) is int and x >= 1,
    "position": lambda x: type(x) is int and x >= 0,
    "scale": lambda x: type(x) is float and math.isfinite(x) and x > 0,
    "precision": lambda x: isinstance(x, str) and x in FORMATS,
    "shards": lambda x: isinstance(x, list) and all(isinstance(row, dict) for row in x),
}
"""What dump.json must have for a step to be repeated."""


def replay(run: RunConfig, say: Callable[[str], object]) -> bool:
    """Repeat a step and say what is not finite in it; whether anything is.

    Args:
        run: the run, whose folder is the dump.
        say: gets the lines.

    Raises:
        InputError: if the folder is no dump, or its data are not those of then.
    """
    values = _values(run.directory)
    which = Which(step=values["step"], position=values["position"], scale=values["scale"])
    experiment = _experiment(run, values, say)
    shards = rerun(experiment, which, range(run.train.shards))
    for line in _introduction(run, values, experiment):
        say(line)
    _check_samples(values, shards, say)
    for shard in shards:
        say(_line(shard))
    is_found = any(shard.first for shard in shards)
    if not is_found:
        say(_largest(shards))
    return is_found


def _values(folder: Path) -> dict[str, Any]:
    try:
        values = dump.read(folder)
        wrong = [name for name, is_sound in USABLE.items() if not is_sound(values[name])]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{folder / dump.RECORD}: cannot be read ({error}); expected a folder that a run has "
            "written, RUN_DIR/dump-<step>"
        ) from None
    if wrong:
        raise InputError(
            f"{folder / dump.RECORD}: has no usable {', '.join(wrong)}; expected what a run has "
            "written"
        )
    return values


def _experiment(run: RunConfig, values: dict[str, Any], say: Callable[[str], object]) -> Experiment:
    """The run's, with the weights of then in the number format of then, on this device."""
    train = replace(run.train, precision=FORMATS[values["precision"]])  # type: ignore[arg-type]
    experiment = restore_training(replace(run, train=train), say)
    freeze_parts(experiment.learner, experiment.phase(values["step"] - 1))
    return experiment


def _introduction(run: RunConfig, values: dict[str, Any], experiment: Experiment) -> Iterator[str]:
    train, device = run.train, experiment.precision.device.type
    samples = experiment.task.samples
    yield (
        f"step {values['step']} of {run.name}, {values.get('objective')}: {train.shards} shards of "
        f"{train.batch_size} {samples}, {values['precision']} on {device}"
    )
    if device != values.get("device"):
        yield f"note: the run was on {values.get('device')}, whose numbers may differ"
    if not values.get("weights_are_those_of_then"):
        yield (
            f"note: the weights are those after step {values.get('weights_of_step')}, when it was "
            "noticed"
        )


def _check_samples(
    values: dict[str, Any], shards: list[Shard], say: Callable[[str], object]
) -> None:
    then = {row.get("shard"): row.get("samples") for row in values["shards"]}
    others = [s.number for s in shards if then.get(s.number, [*s.samples]) != [*s.samples]]
    if others:
        say(f"note: shards {others} have other samples than then; their data have changed")


def _line(shard: Shard) -> str:
    losses = "  ".join(f"{name} {loss:.4g}" for name, loss in shard.losses.items())
    if shard.first is None:
        return f"shard {shard.number}: finite  {losses}  gradient_norm {shard.norm:.4g}"
    return f"shard {shard.number}: {_found(shard.first, shard)}  [{losses}]"


def _found(seen: Seen, shard: Shard) -> str:
    of = f"{seen.module} ({seen.kind})" if seen.kind else seen.module
    how_many = f"{seen.summary.non_finite:,} of {seen.summary.count:,} numbers"
    what = f"not finite first: {seen.what} of {of}, {how_many}"
    if seen.what == LOSS:
        what = f"not finite first: loss {seen.module}, behind modules that are all finite"
    elif seen.what == OUTPUT:
        what += f", its input is {'finite' if seen.is_fed_finite else 'not'}"
    ids = [str(shard.samples[row]) for row in seen.rows]
    of_all = f"of samples {', '.join(map(str, shard.samples))}"
    return f"{what}; sample {', '.join(ids)} {of_all}" if ids else f"{what}; {of_all}"


def _largest(shards: list[Shard]) -> str:
    weights = (seen for shard in shards for seen in shard.seen if seen.what == WEIGHTS)
    most = max(weights, key=lambda seen: seen.summary.largest)
    return (
        "everything is finite here; the largest gradient is "
        f"{most.summary.largest:.4g}, of the weights of {most.module} ({most.kind})"
    )
