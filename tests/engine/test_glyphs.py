"""Texts of a figure in any writing: fonts that have it are found, and what none has is told."""

import io
import warnings

import pytest

pytest.importorskip("matplotlib")

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from vlp_fast.engine import glyphs as module
from vlp_fast.engine.glyphs import PLACEHOLDER, fit_fonts

IN_NO_FONT = "\U000f1234"  # of a private plane
IN_STIX_ONLY = "\U0001d51e"  # a letter of Fraktur, which DejaVu Sans lacks


def figure_of(*texts: str) -> Figure:
    figure = Figure()
    for axis, text in zip(figure.subplots(1, len(texts), squeeze=False)[0], texts, strict=True):
        axis.set_title(text)
    return figure


def titles(figure: Figure) -> list[str]:
    return [axis.get_title() for axis in figure.axes]


def draw(figure: Figure) -> bytes:
    """The picture, with warnings of glyphs that are missing as errors."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(file, format="png")
    return file.getvalue()


@pytest.fixture
def without_cjk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the fonts that come with matplotlib, whatever is installed beside."""
    fonts = font_manager.fontManager.ttflist
    monkeypatch.setattr(
        font_manager.fontManager, "ttflist", [f for f in fonts if "mpl-data" in f.fname]
    )


def test_ordinary_texts_are_left_alone() -> None:
    figure = figure_of("a man\nsmiles", "caf\u00e9 \u03a9 \u0436 \u2212")
    families = [text.get_fontfamily() for text in figure.findobj(Text)]
    assert fit_fonts(figure) is None
    assert titles(figure) == ["a man\nsmiles", "caf\u00e9 \u03a9 \u0436 \u2212"]
    assert [text.get_fontfamily() for text in figure.findobj(Text)] == families


def test_what_no_font_has_is_drawn_as_a_square_and_told_once(without_cjk: None) -> None:
    figure = figure_of("a man", "\u732b \u72d7\nx", f"{IN_NO_FONT}\x07")
    note = fit_fonts(figure)
    assert note is not None
    assert "has 4 of its characters (the first: U+0007)" in note
    assert note.isprintable()
    assert titles(figure) == ["a man", f"{PLACEHOLDER} {PLACEHOLDER}\nx", PLACEHOLDER * 2]
    draw(figure)


def test_a_font_that_has_a_character_is_taken(without_cjk: None) -> None:
    figure = figure_of(f"{IN_STIX_ONLY} a")
    assert fit_fonts(figure) is None
    assert titles(figure) == [f"{IN_STIX_ONLY} a"]
    assert draw(figure) != draw(figure_of(f"{PLACEHOLDER} a"))


def test_fonts_of_symbols_under_other_numbers_are_not_taken(without_cjk: None) -> None:
    assert "STIXGeneral" in (names := [name for name, _ in module._installed()])
    assert not any(name.startswith(("Last Resort", "cm", "STIXSize")) for name in names)


def test_few_fonts_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    has = {"one": set("ab"), "two": set("bcd"), "three": set("cd"), "four": set("z")}
    monkeypatch.setattr(module, "_characters", has.__getitem__)
    fonts = [(name.title(), name) for name in has]
    assert module._cover(set("abcdx"), fonts) == (["Two", "One"], {"x"})
    assert module._cover({"x"}, []) == ([], {"x"})


def test_a_font_that_is_gone_has_nothing() -> None:
    assert module._characters("/absent/font.ttf") == set()
