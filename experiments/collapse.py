"""How a visual dictionary collapses, and what keeps it alive: perplexity over time on the world.

    python experiments/collapse.py --world runs/world --out runs/collapse

Trains a small SOHO once for each way to start and move its codes, everything else alike, and draws
the perplexity of the codes that held-out pictures hit. About three minutes a way on two cores. A
run that was stopped goes on; one that is finished is only drawn.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

STEPS = 900
TAGGING = 60  # steps of soho_tiny in which only the CNN learns
CODES = 256
MODEL = ["--model.num-codes", str(CODES)]
TRAIN = ["--steps", str(STEPS), "--train.evaluate-every", "50", "--train.held-out-images", "120"]
TRAIN += ["--train.no-picture"]

RANDOM = ["--model.codebook-init", "normal", "--model.no-normalize-input"]
FROM_DATA = ["--model.codebook-init", "data", "--model.no-normalize-input"]
WAYS = {
    "Eq. 4, random start": RANDOM,
    "published rule, random start": [
        *RANDOM,
        *("--model.ema-rule", "sum_count_laplace", "--model.momentum", "0.4"),
    ],
    "Eq. 4, random start, revival": [*RANDOM, "--model.revival", "0.7"],
    "Eq. 4, k-means start": FROM_DATA,
    "Eq. 4, k-means start, layer norm": ["--model.codebook-init", "data"],
    "Eq. 4, k-means start, layer norm, revival": [
        *("--model.codebook-init", "data", "--model.revival", "0.7"),
    ],
}


def train(way: str, world: Path, folder: Path) -> None:
    """Train one way into its folder."""
    command = [sys.executable, "-m", "vlp_fast", "train", "soho_tiny", *TRAIN, *MODEL]
    command += [*WAYS[way], "--data.root", str(world), "--run-dir", str(folder)]
    subprocess.run(command, check=True)


def perplexities(folder: Path) -> tuple[list[int], list[float]]:
    """Steps, and perplexity over held-out pictures after each."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["kind"] == "held_out"]
    rows = [row for row in rows if "perplexity" in row and row["step"] > TAGGING]
    return [row["step"] for row in rows], [row["perplexity"] for row in rows]


def draw(folders: dict[str, Path], path: Path) -> None:
    """Draw all ways into one picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for way, folder in folders.items():
        axes.plot(*perplexities(folder), marker="o", markersize=3, label=way)
    axes.set_yscale("log", base=2)
    axes.set_ylim(1, CODES)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("step")
    axes.set_ylabel(f"perplexity on held-out pictures, of {CODES}")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.57), frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train what is missing, say the last figures, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--world", type=Path, required=True, help="of `vlp-fast data make-world`")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and picture")
    options = parser.parse_args()
    folders = {}
    for number, way in enumerate(WAYS):
        folders[way] = options.out / f"{number}-{way.replace(', ', '-').replace(' ', '_')}"
        train(way, options.world, folders[way])
    for way, folder in folders.items():
        print(f"{way:45} {perplexities(folder)[1][-1]:6.1f}")
    draw(folders, options.out / "dictionary_collapse.png")


if __name__ == "__main__":
    main()
