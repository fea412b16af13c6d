"""report.png is drawn whatever captions, names and ids the data have."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from vlp_fast.engine import picture as module
from vlp_fast.engine.experiment import Run
from vlp_fast.engine.picture import draw_report
from vlp_fast.engine.restore import restore_experiment
from vlp_fast.errors import InputError

Make = Callable[..., Run]
NO_FORMULA = "$_$ a $\\foo$"


@pytest.fixture
def drawn(finished: Run, tmp_path: Path) -> Run:
    """A finished run in a folder of its own, where its picture may be written."""
    return replace(finished, run_dir=shutil.copytree(finished.directory, tmp_path / "run"))


def test_captions_are_not_mathematics(drawn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(module, "_wrap", lambda text: NO_FORMULA)
    path = draw_report(restore_experiment(drawn))
    assert path is not None
    with Image.open(path) as picture:
        assert min(picture.size) > 300


def test_names_of_classes_are_printable(drawn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(module, "SCORE", 0.0)
    restored = restore_experiment(drawn)
    names = ("a\ud800$_$",) * len(restored.held_out.class_names)
    odd = replace(restored, held_out=replace(restored.held_out, class_names=names))
    assert draw_report(odd) is not None


def test_a_folder_that_cannot_be_written_is_one_line(finished: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    restored = restore_experiment(finished)
    (tmp_path / "report.png").mkdir()
    elsewhere = replace(restored, run=replace(restored.run, run_dir=tmp_path))
    with pytest.raises(InputError, match=r"report.png: cannot be written \(.*\); free some space"):
        draw_report(elsewhere)
    assert [path.name for path in tmp_path.iterdir()] == ["report.png"]


@torch.no_grad()
def test_ids_may_be_any_number(finished: Run) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    experiment = restore_experiment(finished)
    experiment.model.eval()
    examples = experiment.held_out_examples(2)
    axes = Figure().subplots(1, 2)
    module._draw_words(experiment, axes, [replace(e, image_id=2**70) for e in examples])
    found = [axis.get_title() for axis in axes]
    module._draw_words(experiment, axes, examples)
    assert found == [axis.get_title() for axis in axes]
