"""Whether a model trains alike by any backend: losses by fused kernels beside the definition's.

    python experiments/backends.py --data runs/world --out runs/backends --backends torch

Trains a tiny recipe by the definition from three seeds, and from the first of them by other
backends of a Transformer block's operators, then draws the losses: kernels at the same seed, and
the definition from other seeds, which is the noise. On a CPU, `torch` knows no dropout (take
`--dropout 0`), and `triton` runs in Triton's interpreter, which takes minutes a step (take
`--steps 10 --batch-size 2`). A run that is there already is only drawn.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

SEEDS = (0, 1, 2)
BLOCK = ("attention", "residual_norm", "linear_with_positions")
WINDOW = 10  # steps that are averaged


@dataclass(frozen=True)
class Way:
    """A backend for the operators of a Transformer's block, and a seed."""

    backend: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.backend}, seed {self.seed}"


def train_here(way: Way, options: argparse.Namespace) -> None:
    """Train in this process, and log every step."""
    from vlp_fast import ops
    from vlp_fast.engine.trainer import train
    from vlp_fast.recipes import recipe

    run = recipe(options.model)
    run = replace(
        run,
        steps=options.steps,
        run_dir=folder_of(way, options),
        model=replace(run.model, dropout=options.dropout),
        objective=replace(run.objective, tagging_steps=0),  # they train the CNN alone
        data=replace(run.data, root=options.data, num_workers=0),
        train=replace(
            run.train,
            seed=way.seed,
            batch_size=options.batch_size or run.train.batch_size,
            log_every=1,
            picture=False,
        ),
    )
    names = [name for name in BLOCK if way.backend in ops.operators()[name].backends]
    if way.backend == "triton" and not torch.cuda.is_available():
        enlarge_interpreted_tiles()
    with ops.use("reference", BLOCK), ops.use(way.backend, names):
        train(run)


def enlarge_interpreted_tiles() -> None:
    """Fewer and larger programs: the interpreter's time is by program."""
    from vlp_fast.kernels import attention_tiling

    tile = attention_tiling.AttentionTile(128, 128, 4, 1)
    attention_tiling.INTERPRETED = attention_tiling.AttentionTiles(tile, tile, tile)


def folder_of(way: Way, options: argparse.Namespace) -> Path:
    """Of one run."""
    kind = f"{options.model}-{options.steps}-dropout{options.dropout:g}"
    return Path(options.out, kind, f"{way.backend}-{way.seed}")


def losses(folder: Path) -> list[float]:
    """The loss of every step."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if row["kind"] == "train"]


def smooth(values: list[float]) -> list[float]:
    """Means of WINDOW steps."""
    places = range(len(values) - WINDOW + 1)
    return [sum(values[i : i + WINDOW]) / WINDOW for i in places]


def say(found: dict[Way, list[float]]) -> None:
    """How far every run is from the definition's of the first seed, and where it ends."""
    first = next(iter(found.values()))
    print(f"{'':20}{'first step':>12}{'largest':>12}{'of means':>12}{'last mean':>12}")
    for way, values in found.items():
        means = zip(smooth(values), smooth(first), strict=True)
        alone = [apart(x, y) for x, y in zip(values, first, strict=True)]
        largest = max(apart(x, y) for x, y in means)
        last = smooth(values)[-1]
        print(f"{way.name:20}{alone[0]:12.1e}{max(alone):12.1e}{largest:12.1e}{last:12.4f}")


def apart(x: float, y: float) -> float:
    """Relative difference."""
    return abs(x - y) / abs(y)


def draw(found: dict[Way, list[float]], title: str, path: Path) -> None:
    """Losses over steps, and how far they are from the first ones; the definition's in grey."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, figsize=(8, 6), sharex=True, layout="constrained")
    first = smooth(next(iter(found.values())))
    steps = range(WINDOW, WINDOW + len(first))
    for way, values in found.items():
        is_definition = way.backend == "reference"
        style = {"color": "0.6", "linewidth": 3} if is_definition else {"linewidth": 1.5}
        style |= {"linestyle": "-" if way.seed == SEEDS[0] else ":"}
        means = smooth(values)
        above.plot(steps, means, label=way.name, **style)
        if means != first:
            below.plot(steps, [apart(x, y) for x, y in zip(means, first, strict=True)], **style)
    above.set_ylabel(f"loss, mean of {WINDOW} steps")
    below.set_ylabel(f"relative difference\nfrom the definition, seed {SEEDS[0]}")
    below.set_yscale("log")
    below.set_xlabel("step")
    above.set_title(title, loc="left")
    above.legend(frameon=False)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def read_options() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and picture")
    parser.add_argument("--backends", nargs="+", default=["triton"], help="beside the definition")
    parser.add_argument("--model", default="e2e_vlp_tiny", help="recipe")
    parser.add_argument("--steps", type=int, default=200, help="of each run, at least 10")
    parser.add_argument("--dropout", type=float, default=0.1, help="of the model")
    parser.add_argument("--batch-size", type=int, help="images a step; the recipe's by default")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Train what is missing, each run in a process of its own; say and draw."""
    options = read_options()
    if options.only is not None:
        backend, seed = options.only
        train_here(Way(backend, int(seed)), options)
        return
    ways = [Way("reference", seed) for seed in SEEDS]
    ways += [Way(backend, SEEDS[0]) for backend in options.backends]
    for way in ways:
        is_interpreted = way.backend == "triton" and not torch.cuda.is_available()
        environment = {"TRITON_INTERPRET": "1"} if is_interpreted else {}
        if not (folder_of(way, options) / "metrics.jsonl").exists():
            command = [sys.executable, *sys.argv, "--only", way.backend, str(way.seed)]
            subprocess.run(command, env=os.environ | environment, check=True)
    found = {way: losses(folder_of(way, options)) for way in ways}
    say(found)
    kind = folder_of(ways[0], options).parent
    title = f"{options.model}, dropout {options.dropout:g}"
    draw(found, title, kind.with_name(f"{kind.name}.png"))


if __name__ == "__main__":
    main()
