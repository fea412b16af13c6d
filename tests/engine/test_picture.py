"""report.png is drawn whatever captions, names and ids the data have."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vlp_fast.engine import picture as report
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.picture import draw_report, try_report
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.restore import restore_experiment
from vlp_fast.errors import InputError
from vlp_fast.tasks.detection import picture as boxes
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.pretraining import picture as module
from vlp_fast.tasks.pretraining.pretraining import Pretraining

Make = Callable[..., RunConfig]
NO_FORMULA = "$_$ a $\\foo$"


@pytest.fixture
def drawn(finished: RunConfig, tmp_path: Path) -> RunConfig:
    """A finished run in a folder of its own, where its picture may be written."""
    return replace(finished, run_dir=shutil.copytree(finished.directory, tmp_path / "run"))


def test_captions_are_not_mathematics(drawn: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(module, "wrapped", lambda text: NO_FORMULA)
    path = draw_report(restore_experiment(drawn))
    assert path is not None
    with Image.open(path) as picture:
        assert min(picture.size) > 300


def test_names_of_classes_are_printable(drawn: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(boxes, "SCORE", 0.0)
    restored = restore_experiment(drawn)
    task = restored.task
    names = ("a\ud800$_$",) * len(task.held_out.class_names)
    task.held_out = replace(task.held_out, class_names=names)
    assert draw_report(restored) is not None


def test_a_folder_that_cannot_be_written_is_one_line(finished: RunConfig, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    restored = restore_experiment(finished)
    (tmp_path / "report.png").mkdir()
    elsewhere = replace(restored, run=replace(restored.run, run_dir=tmp_path))
    with pytest.raises(InputError, match=r"report.png: cannot be written \(.*\); free some space"):
        draw_report(elsewhere)
    assert [path.name for path in tmp_path.iterdir()] == ["report.png"]


def test_a_caption_may_have_no_word_that_can_be_masked(
    finished: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone zero-width space has no token; a word of no vocabulary is [UNK], which stays."""
    pytest.importorskip("matplotlib")
    restored = restore_experiment(finished)
    examples = restored.held_out().examples(3)
    captions = ("\u200b", "\u732b", "")
    odd = [replace(e, captions=(c,)) for e, c in zip(examples, captions, strict=True)]
    monkeypatch.setattr(HeldOut, "examples", lambda self, count: odd)
    titles: list[str] = []
    monkeypatch.setattr(report, "fit_fonts", lambda figure: titles.extend(titles_of(figure)))
    assert draw_report(restored) is not None
    assert titles.count("masked words filled in:\n(no word of the vocabulary)") == 3


def test_curves_are_those_that_training_had(
    drawn: RunConfig, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """The task's own first, then those of its warm-up; one that was left out has no empty axis."""
    pytest.importorskip("matplotlib")
    titles: list[str] = []
    monkeypatch.setattr(report, "fit_fonts", lambda figure: titles.extend(titles_of(figure)))
    own = ("mlm", "itm", "mvm" if drawn.name == "soho_tiny" else "captioning")
    own = own if drawn.name == "soho_tiny" else (*own, "detection")
    assert draw_report(restore_experiment(drawn)) is not None
    assert [title for title in titles if title.endswith(" loss")] == [
        f"{name} loss" for name in (*own, "tagging")
    ]
    path = drawn.directory / "metrics.jsonl"
    rows = [{k: v for k, v in row.items() if k != own[-1]} for row in read_journal(path)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    titles.clear()
    assert draw_report(restore_experiment(drawn)) is not None
    assert [title for title in titles if title.endswith(" loss")] == [
        f"{name} loss" for name in (*own[:-1], "tagging")
    ]
    path.unlink()
    titles.clear()
    assert draw_report(restore_experiment(drawn)) is not None
    assert not any(title.endswith(" loss") for title in titles)
    assert not recwarn.list


def titles_of(figure: Any) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def test_characters_that_no_font_has_are_told_in_one_line(
    finished: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(module, "wrapped", lambda text: "\U000f1234\n\U000f1235")
    assert draw_report(restore_experiment(finished)) is not None
    told = capfd.readouterr()
    assert told.out.count("note: report.png: no installed font has 2 of its characters") == 1
    assert told.err == ""
    assert not recwarn.list


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("no glyph"), "RuntimeError: no glyph"),
        (InputError("x.png: cannot be written"), "x.png: cannot be written"),
        (MemoryError(), "MemoryError"),
        (ValueError("a\nb"), "ValueError: a\\nb"),
    ],
)
def test_a_report_that_fails_is_one_line(
    capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    def restore() -> Any:
        raise error

    try_report(restore)
    told = f"note: no report.png ({said}); the run itself is complete\n"
    assert capsys.readouterr() == (told, "")


def test_ctrl_c_ends_a_report() -> None:
    def restore() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        try_report(restore)


@torch.no_grad()
def test_ids_may_be_any_number(finished: RunConfig) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    experiment = restore_experiment(finished)
    experiment.learner.eval()
    task, held_out = experiment.task, experiment.held_out()
    assert isinstance(task, Pretraining)
    examples = held_out.examples(2)
    axes = Figure().subplots(1, 2)
    module._draw_words(task, held_out, axes, [replace(e, image_id=2**70) for e in examples])
    found = [axis.get_title() for axis in axes]
    module._draw_words(task, held_out, axes, examples)
    assert found == [axis.get_title() for axis in axes]
