"""What settings of the data make of a run's batches."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.trainer import train

Make = Callable[..., RunConfig]


def with_data(run: RunConfig, **settings: object) -> RunConfig:
    return replace(run, data=replace(run.data, **settings))


def test_a_canvas_multiple_rounds_up_every_batch(micro: Make, tmp_path: Path) -> None:
    run = with_data(micro("soho_tiny", tmp_path / "run"), canvas_multiple=56)
    for _, inputs in build_experiment(run).batches(0, 4):
        assert inputs.images.shape[2] % 56 == inputs.images.shape[3] % 56 == 0


def test_one_size_gives_all_of_a_batch_one_shorter_side(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run")
    lengths = tuple(range(24, 60))
    drawn = {}
    for one_size in (True, False):
        sized = with_data(run, shorter=lengths, one_size=one_size)
        batches = build_experiment(sized).batches(0, 6)
        drawn[one_size] = [{min(size) for size in b.image_sizes} for _, b in batches]
    assert all(len(sizes) == 1 for sizes in drawn[True])
    assert len(set.union(*drawn[True])) > 1
    assert all(len(sizes) > 1 for sizes in drawn[False])


def test_a_line_says_what_of_its_batches_is_padding(micro: Make, tmp_path: Path) -> None:
    run = micro("soho_tiny", tmp_path / "run", evaluate_every=0)
    pixels = [inputs.pixels for _, inputs in build_experiment(run).batches(0, run.steps)]
    train(run)
    rows = [r for r in read_journal(run.directory / "metrics.jsonl") if r["kind"] == "train"]
    assert len(rows) == run.steps
    for row, (filled, padded) in zip(rows, pixels, strict=True):
        assert abs(row["padding_percent"] - 100 * (1 - filled / padded)) < 1e-9
    assert any(filled < padded for filled, padded in pixels)
