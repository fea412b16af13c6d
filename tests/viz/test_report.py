"""Pages hold what was logged, and nothing that a stranger's run could put into a browser."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.cli import main
from vlp_fast.recipes import recipe
from vlp_fast.viz.chart import POINTS, chart, finite, thinned, ticks
from vlp_fast.viz.report import write_report
from vlp_fast.viz.settings import changed, settings_of
from vlp_fast.viz.tables import table

Call = Callable[..., Any]  # the fixture of conftest.py
QUICK = ["--data.num-workers", 0, "--train.batch-size", 4, "--steps", 4, "--task.tagging-steps", 1]
QUICK += ["--data.shorter", 48, "--data.shorter-held-out", 48, "--data.longer", 80]
QUICK += ["--train.log-every", 1, "--train.evaluate-every", 2, "--train.held-out-images", 2]


class Strict(HTMLParser):
    """Tags that are closed in their order; what would be fetched or run."""

    VOID = frozenset(("meta", "img", "br", "line", "polyline", "circle", "polygon"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [v or "" for n, v in attrs if n in ("src", "href") or n.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def run(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viz") / "mine"
    words = ["train", "e2e_vlp_tiny", "--data.root", small_world, *QUICK, "--optim.lr", 0.002]
    assert main([str(word) for word in (*words, "--run-dir", folder)]) == 0
    return folder


def test_a_page_holds_the_run(call: Call, run: Path) -> None:
    answer = call("viz", run)
    assert (answer.code, answer.out.split()[0]) == (0, "page:"), answer.err
    page = Strict((run / "report.html").read_text())
    assert not page.open
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.fetched)
    assert not {"script", "link", "iframe", "object"} & {*page.tags}
    text = " ".join(page.text)
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    assert f"Step {last['step']}, {last['of']}." in text
    assert f"{last['loss']:.4g}" in text
    assert f"held out: {last['loss']:.4g} at step {last['step']}" in text
    assert "optim.lr" in text
    assert "0.002" in text
    assert str(run.parent) not in text
    assert page.tags.count("svg") > 8
    assert ("img" in page.tags) == (run / "report.png").exists()
    assert sum(map(len, page.fetched)) < 3e6


def test_a_dictionary_that_cannot_be_shown_is_a_note(
    call: Call, small_world: Path, tmp_path: Path
) -> None:
    words = [
        "train",
        "soho_tiny",
        "--data.root",
        small_world,
        *QUICK,
        "--run-dir",
        tmp_path / "run",
    ]
    assert main([str(word) for word in (*words, "--train.no-picture")]) == 0
    answer = call("viz", tmp_path / "run", "--images", 2)
    assert (answer.code, "Visual dictionary" in (tmp_path / "run/report.html").read_text()) == (
        0,
        True,
    )
    moved = call("viz", tmp_path / "run", "--data.root", tmp_path / "gone")
    assert moved.code == 0
    assert "note: nothing of the model is on the page (" in moved.out
    assert "Visual dictionary" not in (tmp_path / "run/report.html").read_text()


def test_runs_are_compared(call: Call, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    changed = [{**row, "loss": row["loss"] + 1} for row in rows]
    (other / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    settings = json.loads((run / "run.json").read_text())
    settings["config"]["optim"]["lr"] = 0.5
    (other / "run.json").write_text(json.dumps(settings))
    answer = call("compare", run, other, "--out", tmp_path / "both.html")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.out.splitlines() if line.startswith("loss ")]
    mine, theirs = map(float, line.split()[1:])
    assert theirs == pytest.approx(mine + 1, abs=0.01)
    last = [row for row in rows if row["kind"] == "held_out"][-1]
    assert mine == pytest.approx(last["loss"], rel=1e-3)
    page = Strict((tmp_path / "both.html").read_text())
    assert not page.open
    text = " ".join(page.text)
    assert "mine training" in text
    assert "other held out" in text
    assert "optim.lr" in text
    assert "optim.weight_decay" not in text


def test_what_is_no_run(call: Call, run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, message in (
        (["viz", tmp_path / "empty"], "no readable run.json"),
        (["viz", tmp_path / "gone"], "no readable run.json"),
        (["viz", run, "--out", tmp_path / "gone/page.html"], "--out"),
        (["compare", run], "give two run folders"),
        (["compare", run, run], "given twice"),
        (["compare", run, tmp_path / "empty"], "no metrics.jsonl"),
    ):
        answer = call(*words)
        assert answer.code == 2
        assert message in " ".join(answer.err.split()), answer.err
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/run.json").write_text((run / "run.json").read_text())
    assert "train first" in call("viz", tmp_path / "begun").err


def test_names_are_no_markup(run: Path, tmp_path: Path) -> None:
    """A run folder may be a stranger's."""
    bad = '<img src=x onerror="alert(1)">'
    folder = tmp_path / "theirs"
    folder.mkdir()
    settings = json.loads((run / "run.json").read_text())
    settings["config"]["name"] = bad
    (folder / "run.json").write_text(json.dumps(settings))
    rows = [
        {"step": n, "kind": kind, bad: n, "of": bad}
        for n in (1, 2)
        for kind in ("train", "held_out")
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report(folder, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", text)
    assert not Strict(text).open


def test_what_no_page_can_show(run: Path, tmp_path: Path) -> None:
    """Numbers without end, half characters, a link to a file of one's own."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "run.json").write_text((run / "run.json").read_text())
    (tmp_path / "key").write_text("PRIVATE KEY")
    (folder / "report.png").symlink_to(tmp_path / "key")
    rows = [
        {"step": step, "kind": "train", "\ud800": step, "loss": value, "huge": 10**400}
        for step, value in ((1, 1e308), (2, -1e308), (10**18, 1.0), (10**18 + 1, 2.0))
    ]
    rows.append({"step": 10**400, "kind": "train", "loss": 3.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report(folder, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "\\ud800" in text
    assert "UFJJVkFURSBLRVk" not in text  # the key, in base64
    assert "default-src 'none'" in text


def test_no_path_is_on_a_page() -> None:
    usual = recipe("vqa_soho_tiny")
    place = Path("/home/me/secret")
    data = replace(usual.data, root=(place,), karpathy_file=place, vocabulary=place, exclude=place)
    mine = replace(usual, data=data, task=replace(usual.task, answers=place))
    assert not [name for name, value in settings_of(mine).items() if "secret" in value]
    assert changed(mine) == []


def test_runs_of_recipes_of_ones_own_are_shown(call: Call, run: Path, tmp_path: Path) -> None:
    """Their task is known once their file is given."""
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from vlp_fast.tasks.captioning.config import CaptioningConfig\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine(CaptioningConfig):\n"
        "    pass\n"
    )
    settings = json.loads((run / "run.json").read_text())
    settings["config"]["file"] = str(tmp_path / "mine.py")
    settings["kinds"]["task"] = "mine.Mine"
    settings["config"]["task"] = {}
    (tmp_path / "own").mkdir()
    (tmp_path / "own/run.json").write_text(json.dumps(settings))
    (tmp_path / "own/metrics.jsonl").write_text((run / "metrics.jsonl").read_text())
    both = "compare", run, tmp_path / "own", "--out", tmp_path / "both.html"
    answer = call(*both)
    assert "note: settings are not compared" in answer.out
    assert "give it as --recipe-file" in answer.out
    page = (tmp_path / "both.html").read_text()
    assert "Not known" in page
    assert str(tmp_path) not in page
    given = "--recipe-file", tmp_path / "mine.py"
    answer = call("viz", tmp_path / "own", "--images", 0, *given)
    assert answer.code == 0, answer.err
    assert call(*both, *given).code == 0
    assert "Not known" not in (tmp_path / "both.html").read_text()


def test_charts_have_the_values_where_they_belong() -> None:
    drawn = chart("loss", {"training": [(0, 4.0), (50, 2.0), (100, 0.0)], "held out": [(100, 1.0)]})
    (points,) = re.findall(r'polyline points="([^"]*) [^"]*"', drawn)[:1]
    line = re.findall(r'polyline points="([^"]*)"', drawn)[0]
    places = [tuple(map(float, point.split(","))) for point in line.split()]
    assert places[0][0] < places[1][0] < places[2][0]
    assert places[0][1] < places[1][1] < places[2][1]  # downwards: y grows
    assert places[1][0] == pytest.approx((places[0][0] + places[2][0]) / 2, abs=0.1)
    assert places[1][1] == pytest.approx((places[0][1] + places[2][1]) / 2, abs=0.1)
    assert "held out: 1 at step 100" in drawn
    assert points


def test_numbers_that_are_none() -> None:
    nan, inf = float("nan"), float("inf")
    assert finite([(1, nan), (2, 1.0), (3, inf), (4, None)]) == [(2, 1.0)]  # type: ignore[list-item]
    assert chart("x", {"a": [(1, nan)]}) == ""
    assert "<polyline" in chart("x", {"a": [(1, 0.0)]})
    assert "<td></td>" in table(["a"], [["text"], [None]])


def test_long_curves_keep_their_ends() -> None:
    curve = [(float(n), float(n)) for n in range(10_007)]
    short = thinned(curve)
    assert len(short) <= POINTS
    assert short[-1] == curve[-1]
    assert short[0][0] < 40


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7), (1e-9, 3e-9), (12.3, 12.4), (0, 2e6)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low <= value <= high * (1 + 1e-9) for value in found)
    stride = found[1] - found[0]
    assert f"{stride:.0e}"[0] in "125"
