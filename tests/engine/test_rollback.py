"""A run that learns nothing any more goes back once, and on with other samples; then it stops."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killed_runs import Killed, assert_same_tensors, figures, kill_at
from spoilt_steps import poisoned

from vlp_fast.engine import divergence
from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.rollbacks import Rollbacks
from vlp_fast.engine.stop import Stopped
from vlp_fast.engine.trainer import Trainer, train
from vlp_fast.errors import InputError

Make = Callable[..., RunConfig]
NAMES = ["soho_tiny", "e2e_vlp_tiny"]
BAD = (4, 5)
"""Steps that find no finite gradient: with a patience of one, the run goes back after six."""
BACK_TO, AHEAD = 2, 4
STEPS = 7


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "PATIENCE", 1)


def made(micro: Make, name: str, folder: Path, **train: Any) -> RunConfig:
    settings = {"checkpoint_every": 2, "keep_checkpoints": 9, "batch_size": 3} | train
    run = micro(name, folder, steps=STEPS, **settings)
    return replace(run, task=replace(run.task, tagging_steps=3))  # it goes back behind its end


@pytest.fixture(scope="module", params=NAMES)
def gone_back(request: pytest.FixtureRequest, micro: Make, once: Callable[..., Path]) -> RunConfig:
    """A run that went back; to be read only. Its folder has the samples of each step, too."""
    run_in = lambda folder: made(micro, request.param, folder / "run")

    def fill(folder: Path) -> None:
        shown: list[tuple[int, tuple[int | str, ...]]] = []
        shards = Trainer._shards

        def noted(self: Trainer, batches: Any) -> Any:
            for inputs in shards(self, batches):
                shown.append((self.step, inputs.image_ids))
                yield inputs

        with pytest.MonkeyPatch.context() as patch, poisoned(BAD):
            patch.setattr(divergence, "PATIENCE", 1)
            patch.setattr(Trainer, "_shards", noted)
            train(run_in(folder))
        (folder / "shown.json").write_text(json.dumps(shown))

    return run_in(once(f"gone-back-{request.param}", fill))


def test_the_samples_go_on_where_they_were(gone_back: RunConfig) -> None:
    shown = json.loads((gone_back.directory.parent / "shown.json").read_text())
    experiment = build_experiment(gone_back)
    in_order = [list(inputs.image_ids) for _, inputs in experiment.batches(0, STEPS + AHEAD)]
    steps = [*range(6), *range(BACK_TO, STEPS)]
    assert [step for step, _ in shown] == steps
    assert [ids for _, ids in shown] == in_order


def test_lines_and_checkpoints_are_those_of_the_way_that_counts(gone_back: RunConfig) -> None:
    rows = read_journal(gone_back.directory / "metrics.jsonl")
    train_rows = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in train_rows] == [*range(1, STEPS + 1)]
    assert all("skipped_steps" not in row and row["loss"] > 0 for row in train_rows)
    told = [row for row in rows if row["kind"] == "rollback"]
    assert told == [{"step": BACK_TO + 1, "kind": "rollback", "came_to": 6, "passed_over": AHEAD}]
    assert steps(gone_back.directory) == [2, 4, 6, 7]
    for checkpoint in complete_checkpoints(gone_back.directory):
        state = json.loads((checkpoint / "state.json").read_text())
        is_later = state["step"] > BACK_TO
        expected = Rollbacks(count=1, passed_over=AHEAD) if is_later else Rollbacks()
        assert Rollbacks.restored(state["rollbacks"]) == expected
        assert state["skipped_in_a_row"] == 0


def test_it_is_a_run_that_was_resumed_with_other_samples(
    gone_back: RunConfig, tmp_path: Path
) -> None:
    """Nothing of the steps that it went back behind is left, but where the samples are."""
    run = replace(gone_back, run_dir=shutil.copytree(gone_back.directory, tmp_path / "run"))
    for step in (4, 6, 7):
        shutil.rmtree(run.directory / f"checkpoint-0000000{step}")
    state = run.directory / f"checkpoint-0000000{BACK_TO}" / "state.json"
    values = json.loads(state.read_text())
    values["rollbacks"] = Rollbacks(count=1, passed_over=AHEAD).state()
    values["replaced"]["shown"] += AHEAD * run.train.batch_size
    state.write_text(json.dumps(values))
    train(run)
    assert_same_tensors(run.directory, gone_back.directory)
    rows = [row for row in figures(gone_back.directory) if row["kind"] != "rollback"]
    assert figures(run.directory) == rows


@pytest.mark.parametrize(
    ("step", "end", "saved"), [(BACK_TO, Killed(), BACK_TO), (5, Killed(), 4), (5, Stopped(15), 5)]
)
def test_whoever_resumes_it_gets_the_same(
    gone_back: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    end: BaseException,
    saved: int,
) -> None:
    """Killed before the first checkpoint that knows of the rollback, and behind it; or stopped."""
    run = replace(gone_back, run_dir=tmp_path / "run")
    advance = Trainer._advance

    def deadly(self: Trainer, batches: Any) -> None:
        if self._rollbacks.count == 1 and self.step == step:
            raise end
        advance(self, batches)

    with poisoned(BAD):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_advance", deadly)
            with pytest.raises(type(end)):
                train(run)
        assert steps(run.directory)[-1] == saved
        train(run)
    assert_same_tensors(run.directory, gone_back.directory)
    assert figures(run.directory) == figures(gone_back.directory)


def test_a_run_killed_among_skipped_steps_goes_back_at_the_same_step(
    gone_back: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_like(gone_back, tmp_path / "run", checkpoint_every=1)
    whole = made_like(run, tmp_path / "whole", checkpoint_every=1)
    with poisoned(BAD):
        train(whole)
        with monkeypatch.context() as patch:
            kill_at(patch, BAD[1])
            with pytest.raises(Killed):
                train(run)
        train(run)
    assert_same_tensors(run.directory, whole.directory)
    assert figures(run.directory) == figures(whole.directory)


def test_it_does_not_go_back_to_a_damaged_checkpoint(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(micro, "e2e_vlp_tiny", tmp_path / "run", checkpoint_every=1)
    with poisoned(BAD):
        with monkeypatch.context() as patch:
            kill_at(patch, BAD[-1])
            with pytest.raises(Killed):
                train(run)
        with (run.directory / "checkpoint-00000003/model.safetensors").open("r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)
            file.seek(-1, 2)
            file.write(bytes([last[0] ^ 1]))
        train(run)
    assert "; back to checkpoint-00000002, with other samples" in capsys.readouterr().out


def test_a_line_that_is_made_up_for_may_go_back(
    gone_back: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes were lost when it was due; the same command meets it before any step."""
    run = replace(gone_back, run_dir=tmp_path / "run")
    log = Trainer._log

    def lost(self: Trainer) -> None:
        if self.step == BAD[-1] + 1:
            raise ZeroDivisionError
        log(self)

    with poisoned(BAD):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_log", lost)
            with pytest.raises(ZeroDivisionError):
                train(run)
        assert steps(run.directory) == [2, 4, 6]
        train(run)
    assert_same_tensors(run.directory, gone_back.directory)
    assert figures(run.directory) == figures(gone_back.directory)


def test_the_last_step_is_judged_alike_whoever_makes_it(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is skipped is nothing odd, though a resumed process has made no other."""
    run = made(micro, "e2e_vlp_tiny", tmp_path / "run", rollbacks=0)
    with poisoned({STEPS - 1}):
        with monkeypatch.context() as patch:
            kill_at(patch, STEPS - 1)
            with pytest.raises(Killed):
                train(run)
        train(run)
    assert steps(run.directory)[-1] == STEPS


def test_a_run_that_was_stopped_between_goes_back_as_if_it_was_not(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was saved because it was stopped, at step 4, is no state that it goes back to."""
    monkeypatch.setattr(divergence, "PATIENCE", 0)
    whole = made(micro, "e2e_vlp_tiny", tmp_path / "whole", log_every=9, checkpoint_every=3)
    run = replace(whole, run_dir=tmp_path / "run")
    advance = Trainer._advance

    def stopped(self: Trainer, batches: Any) -> None:
        if self.step == 4:
            raise Stopped(15)
        advance(self, batches)

    with poisoned({5}):
        train(whole)
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_advance", stopped)
            with pytest.raises(Stopped):
                train(run)
        assert steps(run.directory) == [3, 4]
        train(run)
    assert_same_tensors(run.directory, whole.directory)
    assert figures(run.directory) == figures(whole.directory)
    assert steps(run.directory) == steps(whole.directory)


def made_like(run: RunConfig, folder: Path, **train: Any) -> RunConfig:
    return replace(run, run_dir=folder, train=replace(run.train, **train))


def test_if_it_happens_again_it_stops(
    micro: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(micro, "e2e_vlp_tiny", tmp_path / "run")
    words = r"step 7: the last 2 steps .*/run/checkpoint-00000004 is from before; lower --optim.lr"
    bad = {*BAD, *range(9, 99)}
    with poisoned(bad), pytest.raises(InputError, match=words):
        train(run)
    out = capsys.readouterr().out
    assert out.count("step 6: the last 2 steps were skipped") == 1
    assert out.count("; back to checkpoint-00000002, with other samples") == 1
    # The same command knows that the run went back already; another may allow it once more.
    with poisoned(bad), pytest.raises(InputError, match=words):
        train(run)
    assert "back to" not in capsys.readouterr().out
    with poisoned({*BAD, 9, 10}):
        train(replace(run, train=replace(run.train, rollbacks=2)))
    assert "; back to checkpoint-00000004" in capsys.readouterr().out
    state = json.loads((run.directory / "checkpoint-00000007/state.json").read_text())
    assert state["rollbacks"] == {"count": 2, "passed_over": AHEAD + 3}


def test_without_rollbacks_it_stops_at_once(micro: Make, tmp_path: Path) -> None:
    run = made(micro, "e2e_vlp_tiny", tmp_path / "run", rollbacks=0)
    words = r"step 6: the last 2 .*/run/checkpoint-00000002 is from before"
    with poisoned(BAD), pytest.raises(InputError, match=words):
        train(run)


def test_the_best_of_before_stays_the_best(micro: Make, tmp_path: Path) -> None:
    """What comes later is compared with it, though its step has the number of a later one."""
    run = made(micro, "e2e_vlp_tiny", tmp_path / "run", keep_best="loss", evaluate_every=1)
    losses = iter([5.0, 4.0, 9.0, 1.0, 9.0, 2.0, 2.0, 2.0, 2.0])
    with poisoned(BAD), pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlp_fast.engine.trainer.evaluate", lambda *_: {"loss": next(losses)})
        patch.setattr("vlp_fast.engine.trainer.evaluate_parts", lambda *_: [])
        kill_at(patch, 6)  # of which the way before the rollback has none
        with pytest.raises(Killed):
            train(run)
        assert best(run) == {"figure": "loss", "value": 1.0, "step": 4}
        patch.undo()
        patch.setattr("vlp_fast.engine.trainer.evaluate", lambda *_: {"loss": 0.5})
        train(run)
    assert best(run) == {"figure": "loss", "value": 0.5, "step": 7, "passed_over": AHEAD}


def best(run: RunConfig) -> Any:
    (found,) = (run.directory / "best").glob("checkpoint-*")
    return json.loads((found / "best.json").read_text())


def steps(folder: Path) -> list[int]:
    return [int(path.name[-8:]) for path in complete_checkpoints(folder)]
