"""Runs of one or several processes by the command line, and what is compared of them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from vlp_fast.engine.clock import TIMED

OPTIONS = """
--train.batch-size 2 --train.shards 4 --train.log-every 1 --train.checkpoint-every 3
--train.keep-checkpoints 9 --train.held-out-images 4 --train.no-picture --train.device cpu
--train.precision fp32 --model.dropout 0.1 --optim.freeze-backbone 0.3 --task.tagging-steps 2
--data.num-workers 0 --train.ema 0.9
"""
COMMON = OPTIONS.split()
SYSTEMS = {"soho_tiny": ["--task.codebook-samples", "150"], "e2e_vlp_tiny": []}
STEPS = 6


def command(name: str, root: Path, folder: Path, processes: int, *more: str) -> list[str]:
    """`vlp-fast train` of a recipe in so many processes."""
    words = [*SYSTEMS[name], *COMMON, "--train.processes", str(processes), *more]
    run = ["--data.root", str(root), "--run-dir", str(folder), "--steps", str(STEPS)]
    return [sys.executable, "-m", "vlp_fast", "train", name, *run, *words]


def environment() -> dict[str, str]:
    """One thread a process, as comparisons of bits need."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def digests(folder: Path, step: int = STEPS) -> list[str]:
    """Of weights, their average and optimisers at a step."""
    files = sorted((folder / f"checkpoint-{step:08d}").glob("*.safetensors"))
    assert len(files) == 3
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def rows(folder: Path) -> list[dict[str, Any]]:
    """The journal without what tells of time."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: x for name, x in row.items() if name not in TIMED} for row in lines]


def last_child(run: "subprocess.Popen[str]", step: int) -> int:
    """The process that a launcher started last, once the run has logged a step."""
    assert run.stdout is not None
    for line in run.stdout:
        if line.startswith(f"step {step}/"):
            break
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    return max(map(int, children))
