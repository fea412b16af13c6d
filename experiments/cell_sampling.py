"""What random cells in place of all cost and save: either system, words and matching alone.

    python experiments/cell_sampling.py --world runs/small-world --out runs/sampling --cells 16 32

Trains the small recipe of each system once with all cells of a picture and once for each number of
`--cells`, from each of `--seeds`, everything else alike: without masked codes, and without
detection and captioning, which need all cells. Prints held-out figures, which are of all cells, and
CPU seconds a step. A run that was stopped goes on; one that is finished is only read.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

ALIKE = {
    "soho": ["--task.no-masked-codes"],
    "e2e_vlp": ["--task.no-detection", "--task.no-captioning"],
}
"""By system, what both ways go without."""
FIGURES = ("mlm_right", "mlm_shuffled", "itm_whole_text")


def train(system: str, cells: int | None, seed: int, options: argparse.Namespace) -> Path:
    """Train one way into its folder, and note the CPU seconds of all its steps."""
    name = f"{system}-{'all' if cells is None else cells}-seed{seed}"
    folder: Path = options.out / name
    command = [sys.executable, "-m", "vlp_fast", "train", f"{system}_{options.size}"]
    command += [*ALIKE[system], "--data.root", str(options.world), "--run-dir", str(folder)]
    command += ["--train.seed", str(seed), "--train.no-picture"]
    command += ["--task.sampled-cells", str(cells)] if cells is not None else []
    command += ["--steps", str(options.steps)] if options.steps else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(command, check=True)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    times = folder / "cpu_seconds.json"
    if not times.exists():  # of the first time, not of a run that is only read
        times.write_text(json.dumps(spent))
    return folder


def row(folder: Path) -> str:
    """The last held-out figures of a run, and its CPU seconds a step."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    last = [line for line in map(json.loads, lines) if line["kind"] == "held_out"][-1]
    seconds = json.loads((folder / "cpu_seconds.json").read_text()) / last["step"]
    figures = "  ".join(f"{last[name]:14.3f}" for name in FIGURES)
    return f"{folder.name:28s}  {figures}  {seconds:12.3f}"


def main() -> None:
    """Train what is missing, and print a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--world", type=Path, required=True, help="of `vlp-fast data make-world`")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--cells", type=int, nargs="+", default=[16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--systems", nargs="+", default=list(ALIKE), choices=list(ALIKE))
    parser.add_argument("--size", default="small_world", choices=["tiny", "small_world", "world"])
    parser.add_argument("--steps", type=int, help="those of the recipe if not given")
    options = parser.parse_args()
    folders = [
        train(system, cells, seed, options)
        for system in options.systems
        for seed in options.seeds
        for cells in (None, *options.cells)
    ]
    head = "  ".join(f"{name:>14s}" for name in FIGURES)
    print(f"{'':28s}  {head}  {'CPU s a step':>12s}")
    for folder in folders:
        print(row(folder))


if __name__ == "__main__":
    main()
