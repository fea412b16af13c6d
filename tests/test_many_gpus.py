"""The commands of docs/many_gpus.md, run here over gloo."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vlp_fast.recipes import recipe

PAGE = (Path(__file__).parents[1] / "docs/many_gpus.md").read_text()
SHORTER = "--steps 3 --task.tagging-steps 1 --train.held-out-images 4 --train.no-picture"


def commands(title: str) -> list[list[str]]:
    """Those of a section's first block."""
    block = PAGE.split(f"## {title}")[1].split("```sh\n")[1].split("```")[0]
    return [shlex.split(line) for line in block.replace("\\\n", "").splitlines()]


@pytest.mark.dist
@pytest.mark.xdist_group("processes")
def test_the_commands_for_one_machine(tmp_path: Path) -> None:
    make, train = commands("One machine")
    assert (make[:3], train[:2]) == (["vlp-fast", "data", "make-world"], ["vlp-fast", "train"])
    (in_parts,) = commands("Weights in parts")
    shorter = [*SHORTER.split(), "--task.codebook-samples", "200"]
    for words in (make, [*train, *shorter], [*in_parts, *shorter, "--steps", "4"]):
        done = subprocess.run(
            [sys.executable, "-m", "vlp_fast", *words[1:]],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert "2 x " in done.stdout
    assert "steps 3 to 4" in done.stdout
    for step in (3, 4):
        assert (tmp_path / f"runs/soho_tiny/checkpoint-0000000{step}/state.json").is_file()


@pytest.mark.parametrize("name", ["soho_r101_12", "e2e_vlp_r101_12"])
def test_the_table_of_shards(name: str) -> None:
    train = recipe(name).train
    system = name.rsplit("_", 2)[0]
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{system}_*`"))
    shards, samples = map(int, re.findall(r"\| (\d+)(?= |,)", row)[:2])
    assert (shards, samples) == (train.shards, train.batch_size)


def test_every_option_of_the_page_exists() -> None:
    config = recipe("soho_tiny").train
    for option in set(re.findall(r"--train\.([a-z-]+)", PAGE)):
        assert hasattr(config, option.replace("-", "_")), option
