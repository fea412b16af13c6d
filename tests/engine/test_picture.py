"""report.png is drawn whatever captions, names and ids the data have."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from PIL import Image

from vlp_fast.engine import picture as module
from vlp_fast.engine.experiment import Run
from vlp_fast.engine.picture import draw_report
from vlp_fast.engine.restore import restore_experiment

Make = Callable[..., Run]
NO_FORMULA = "$_$ a $\\foo$"


def test_captions_are_not_mathematics(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(module, "_wrap", lambda text: NO_FORMULA)
    path = draw_report(finished)
    assert path is not None
    with Image.open(path) as picture:
        assert min(picture.size) > 300


def test_names_of_classes_are_printable(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(module, "SCORE", 0.0)
    restored = restore_experiment(finished)
    names = ("a\ud800$_$",) * len(restored.held_out.class_names)
    odd = replace(restored, held_out=replace(restored.held_out, class_names=names))
    monkeypatch.setattr(module, "restore_experiment", lambda run: odd)
    assert draw_report(finished) is not None


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
