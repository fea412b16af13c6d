"""What a run has learnt is what its page shows; one line each where something cannot be shown."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.cli import main
from vlp_fast.engine import checkpoint, restore
from vlp_fast.errors import InputError
from vlp_fast.recipes import recipe
from vlp_fast.viz import sections
from vlp_fast.viz.looked import Looked
from vlp_fast.viz.page import Section
from vlp_fast.viz.sections import PARTS, Part, parts_of

Call = Callable[..., Any]
QUICK = ["--data.num-workers", 0, "--train.batch-size", 4, "--train.log-every", 1]
QUICK += ["--train.no-picture", "--train.held-out-images", 2, "--steps", 2]
QUICK += ["--data.shorter", 48, "--data.shorter-held-out", 48, "--data.longer", 80]


@pytest.fixture(scope="module")
def run(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An E2E-VLP that knows next to nothing, and can do all that it can do."""
    folder = tmp_path_factory.mktemp("sections") / "mine"
    words = ["train", "e2e_vlp_tiny", "--data.root", small_world, *QUICK, "--run-dir", folder]
    assert main([str(word) for word in (*words, "--task.tagging-steps", 1)]) == 0
    return folder


def test_a_run_shows_what_it_has_learnt(
    call: Call, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = checkpoint.load_model
    monkeypatch.setattr(restore, "load_model", lambda *a: loads.append(1) or load(*a))
    page = tmp_path / "page.html"
    answer = call("viz", run, "--out", page)
    assert answer.code == 0, answer.err
    assert len(loads) == 1
    names = parts_of(recipe("e2e_vlp_tiny").task.abilities)
    assert names == ["boxes", "captions", "retrieval", "word_attention", "object_attention"]
    text = page.read_text()
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles[2:-1] == [
        *("Boxes found", "Captions written", "Retrieved", "What words look at"),
        "What object queries look at",
    ]
    assert "default-src 'none'" in text
    fetched = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in fetched)


def test_parts_are_chosen_and_refused_by_name(
    call: Call, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, pictures = tmp_path / "page.html", tmp_path / "new" / "pictures"
    chosen = ("--only", "captions", "--pictures", pictures)
    assert call("viz", run, "--out", page, *chosen).code == 0
    assert [path.name for path in pictures.iterdir()] == ["captions.png"]
    assert (pictures / "captions.png").read_bytes().startswith(b"\x89PNG")
    assert re.findall(r"<h2>(.*?)</h2>", page.read_text())[2:-1] == ["Captions written"]
    for name, said in (
        ("wrong_answers", "needs a run that has learnt to answer or compare or entails"),
        ("nothing", "there are wrong_answers, boxes, captions"),
    ):
        answer = call("viz", run, "--out", page, "--only", name)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert f"--only {name}: {said}" in answer.err
    (tmp_path / "file").write_text("")
    answer = call("viz", run, "--out", page, "--only", "captions", "--pictures", tmp_path / "file")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "give --pictures a folder" in answer.err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    answer = call("viz", run, "--out", page, "--only", "captions", "--pictures", tmp_path / "p")
    assert answer.code == 0
    assert "captions.png needs matplotlib: pip install 'vlp-fast[viz]'" in answer.out
    assert "Captions written" in page.read_text(), "the page needs none"


def test_an_ability_more_is_a_line_more(
    call: Call, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(looked: Looked) -> Section:
        raise InputError(f"nothing of {looked.model.abilities[0]} today")

    new = {
        "told": Part(shows=("fill",), make=lambda _: Section(title="Told", body="<p>new</p>")),
        "failing": Part(shows=("match",), make=fails),
        "other": Part(shows=("sing",), make=fails),
    }
    monkeypatch.setattr(sections, "PARTS", new)
    page = tmp_path / "page.html"
    answer = call("viz", run, "--out", page)
    assert answer.code == 0
    assert "no failing on the page (nothing of match today)" in answer.out
    assert '<section id="told"><h2>Told</h2>\n<p>new</p>' in page.read_text()


def test_every_ability_is_shown() -> None:
    shown = {ability for part in PARTS.values() for ability in part.shows}
    names = ("soho_tiny", "e2e_vlp_tiny", "vqa_soho_tiny", "nlvr2_soho_tiny", "ve_soho_tiny")
    names += ("retrieval_soho_tiny", "captioning_e2e_vlp_tiny", "detection_e2e_vlp_tiny")
    for name in names:
        abilities = set(recipe(name).task.abilities)
        assert abilities
        assert abilities - {"fill"} <= shown  # words that are filled in are in report.png
        assert parts_of(tuple(abilities))
