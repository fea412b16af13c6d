"""Operations of a run are those of one step of each phase, by pixels; peaks; memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vlp_fast.engine.clock import TIMED
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.memory import memory_gib
from vlp_fast.engine.operations import Operations
from vlp_fast.engine.peaks import peak_of
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.trainer import Trainer, train
from vlp_fast.tasks.inputs import Inputs

Make = Callable[..., RunConfig]


@dataclass(frozen=True, kw_only=True)
class Some(Inputs):
    """So many samples, and pixels."""

    image_ids: tuple[int, ...] = (1, 2)
    of: tuple[int, int] = (0, 0)

    @property
    def pixels(self) -> tuple[int, int]:
        return self.of


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard is counted before the second step of a phase, not after ten."""
    monkeypatch.setattr("vlp_fast.engine.operations.COUNTED", 1)


def step(operations: Operations, width: int, *shards: Some) -> None:
    for shard in shards:
        if operations.is_due:
            with operations.counted(shard):
                torch.ones(2, 3) @ torch.ones(3, width)
        operations.count(shard)
        torch.ones(2, 3) @ torch.ones(3, width)
    operations.end_step()


@pytest.mark.usefixtures("early")
def test_shards_count_by_their_pixels_and_phases_by_their_own() -> None:
    operations = Operations()
    step(operations, 1, Some(of=(10, 20)))
    assert operations.take() is None
    step(operations, 5, Some(of=(30, 40)), Some(of=(60, 60)))
    rate = 2 * 2 * 3 * 5 / 40
    assert operations.take() == pytest.approx((100 * rate, 90 * rate))
    step(operations, 9, Some(of=(100, 200)))
    operations.begin_phase()
    for _ in range(2):
        step(operations, 7, Some(of=(50, 50)))
    other = 2 * 2 * 3 * 7 / 50
    assert operations.take() == pytest.approx((200 * rate + 100 * other, 100 * (rate + other)))
    assert operations.take() == (0, 0)
    step(operations, 7, Some(of=(0, 50)))
    assert operations.take() == pytest.approx((50 * other, 0))


@pytest.mark.usefixtures("early")
def test_without_pictures_samples_count() -> None:
    operations = Operations()
    for _ in range(2):
        step(operations, 5, Some())
    step(operations, 5, Some(image_ids=(1,)))
    assert operations.take() == (2.5 * 60, 2.5 * 60)


@pytest.mark.usefixtures("early")
@pytest.mark.parametrize(
    ("name", "recompute"),
    [
        ("soho_tiny", "layers"),
        ("e2e_vlp_tiny", "none"),
        pytest.param("soho_tiny", "none", marks=pytest.mark.exhaustive),
        pytest.param("e2e_vlp_tiny", "layers", marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_counts_what_torchs_counter_counts(
    micro: Make, tmp_path: Path, name: str, recompute: str
) -> None:
    """Of steps that have other pictures and texts than the counted shard, within 5 %."""
    settings = {"log_every": 100, "batch_size": 3, "recompute": recompute}
    run = micro(name, tmp_path / "run", steps=7, **settings)
    run = replace(run, task=replace(run.task, tagging_steps=0))
    trainer = Trainer(build_experiment(run))
    trainer.learner.train()
    batches = trainer.experiment.batches(0, 7)
    counts, found = [], []
    for _ in range(5):
        with FlopCounterMode(display=False) as counter:
            trainer.one_step(batches)
        counts.append(counter.get_total_flops())
        found.append(trainer.updater.operations.take())
    assert found[0] is None
    assert found[1] == (counts[1] / 2, pytest.approx(counts[1] / 2, rel=0.3))  # computed twice
    every, useful = (sum(part) for part in zip(*found[2:], strict=True))  # type: ignore[arg-type]
    assert every == pytest.approx(sum(counts[2:]), rel=0.05)
    assert useful <= every


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
def test_counting_changes_no_bit(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nor one of a dictionary that moves with every shard, of which one is computed twice."""
    kept = []
    for counted in (1, 99):
        monkeypatch.setattr("vlp_fast.engine.operations.COUNTED", counted)
        run = micro(name, tmp_path / str(counted), steps=4, shards=2, batch_size=3)
        if name == "soho_tiny":
            run = replace(run, model=replace(run.model, ema_rule="sum_count_laplace"))
        train(run)
        (weights,) = run.directory.glob("checkpoint-*/model.safetensors")
        lines = read_journal(run.directory / "metrics.jsonl")
        told = [{key: x for key, x in row.items() if key not in TIMED} for row in lines]
        kept.append((weights.read_bytes(), told, ["tflops" in row for row in lines]))
    assert kept[0][:2] == kept[1][:2]
    assert (any(kept[0][2]), any(kept[1][2])) == (True, False)


@pytest.mark.usefixtures("early")
def test_lines_have_speed_and_memory_and_print_fewer(
    micro: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(build_experiment(micro("soho_tiny", tmp_path / "run", steps=5)))
    trainer.run()
    lines = [row for row in read_journal(tmp_path / "run/metrics.jsonl") if row["kind"] == "train"]
    assert ["tflops" in row for row in lines] == [False, True, False, True, True]
    assert all(row["memory_gib"] > 0.05 for row in lines)
    assert "tokens_per_second" not in lines[0]  # tagging reads no text
    assert lines[-1]["tokens_per_second"] > lines[-1]["images_per_second"]
    assert "mfu_percent" not in lines[-1]  # of a CPU
    out = capsys.readouterr().out
    assert "memory_gib" in out
    assert "tflops" not in out
    assert "tokens_per_second" not in out


def test_what_is_resident_is_seen() -> None:
    device = torch.device("cpu")
    before = memory_gib(device)
    kept = torch.ones(2**26)  # 0.25 GiB
    assert memory_gib(device) - before == pytest.approx(0.25, abs=0.1)
    assert len(kept) == 2**26


@pytest.mark.parametrize(
    ("name", "fp16", "bf16"),
    [
        ("Tesla V100-SXM2-32GB", 125, None),
        ("Tesla V100S-PCIE-32GB", 130, None),
        ("Tesla V100-PCIE-16GB", 112, None),
        ("Tesla T4", 65, None),
        ("NVIDIA A10", 125, 125),
        ("NVIDIA A10G", None, None),
        ("NVIDIA A100-SXM4-80GB", 312, 312),
        ("NVIDIA A100 80GB PCIe MIG 1g.10gb", None, None),
        ("NVIDIA L4", 121, 121),
        ("NVIDIA L40S", 362, 362),
        ("NVIDIA L40", None, None),
        ("NVIDIA H100 80GB HBM3", 989, 989),
        ("NVIDIA H100 PCIe", 756, 756),
        ("NVIDIA H200", 989, 989),
        ("NVIDIA GB200", None, None),
        ("NVIDIA GeForce RTX 4090", None, None),
    ],
)
def test_peaks_are_of_known_devices_alone(name: str, fp16: float, bf16: float) -> None:
    assert peak_of(name, torch.float16) == fp16
    assert peak_of(name, torch.bfloat16) == bf16
    assert peak_of(name, torch.float32) is None
