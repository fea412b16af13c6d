"""`vlp-fast predict` and `vlp-fast export`, as people type them."""

import json
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.inference.conftest import untrained
from vlp_fast.cli import predict, said
from vlp_fast.cli.predict import Predict
from vlp_fast.data.config import DataConfig
from vlp_fast.inference import groups
from vlp_fast.inference.pictures import open_picture
from vlp_fast.tasks.downstream.config import ReasoningConfig

Call = Callable[..., Any]  # the fixture of conftest.py
E2E_VLP, SOHO = "e2e_vlp_small_world", "soho_small_world"


@pytest.fixture(scope="session")
def pictures(small_drawings: Path) -> list[Path]:
    return sorted((small_drawings / "images").iterdir())[:3]


def test_captions_and_objects_come_unasked(call: Call, pictures: list[Path]) -> None:
    answer = call("predict", E2E_VLP, *pictures, "--device", "cpu")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [f"{p}:" for p in pictures]
    assert sum(line.startswith("  caption  ") for line in lines) == 3
    assert sum(line.startswith("  objects  ") for line in lines) == 3
    assert any(" at " in line for line in lines)


def test_json_has_a_line_a_picture(call: Call, pictures: list[Path]) -> None:
    asked = ["--text", "a red circle", "--text", "a star", "--fill", "a [MASK] circle", "--json"]
    answer = call("predict", SOHO, *pictures, *asked, "--device", "cpu")
    assert answer.code == 0, answer.err
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["images"] for row in rows] == [[str(path)] for path in pictures]
    for row in rows:
        assert [one["asked"] for one in row["match"]] == ["a red circle", "a star"]
        assert all(0 <= one["score"] <= 1 for one in row["match"])
        assert row["fill"][0]["answer"].startswith("a ")
        assert len(row["fill"][0]["words"][0]) == 5


def test_a_broken_picture_costs_the_others_nothing(
    call: Call, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    answer = call("predict", E2E_VLP, tmp_path / "broken.png", pictures[0], tmp_path / "gone.png")
    assert answer.code == 2
    assert f"{pictures[0]}:" in answer.out
    assert [line.split(":")[1].strip() for line in answer.err.splitlines()] == ["passed over"] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([E2E_VLP], "give a picture"),
        ([SOHO, "PICTURE"], "nothing is asked, and a run of soho_small_world has learnt --text"),
        ([E2E_VLP, "PICTURE", "--question", "what?"], "--question: a run of e2e_vlp_small_world"),
        ([E2E_VLP, "PICTURE", "--text", " "], "--text: received an empty text"),
        ([E2E_VLP, "PICTURE", "--sentence", "x"], "received 1 pictures, expected 2"),
        (["nowhere", "PICTURE"], "no such folder; expected a run's folder"),
        ([E2E_VLP, "PICTURE", "--threshold", "2"], "threshold"),
        (["hf://x", "PICTURE"], "expected NAME/REPO"),
        ([SOHO, "PICTURE", "--fill", "a star"], "expected a text with [MASK]"),
        ([SOHO, "PICTURE", "--fill", f"[MASK] {'a ' * 30}"], "expected at most the 24"),
        ([SOHO, "PICTURE", "--text", "a \udcff"], "no Unicode text"),
        ([SOHO, "PICTURE", "--fill", "[MASK] \udcff"], "no Unicode text"),
        ([E2E_VLP, "PICTURE", "--beams", "1000"], "num_beams 1000, expected 1 to 149"),
    ],
)
def test_what_cannot_be_asked(
    call: Call, pictures: list[Path], words: list[str], message: str
) -> None:
    answer = call("predict", *(str(pictures[0]) if word == "PICTURE" else word for word in words))
    assert answer.code == 2
    assert message in " ".join(answer.err.split())
    assert answer.out == ""


def test_export_says_what_there_is(call: Call, tmp_path: Path, pictures: list[Path]) -> None:
    from vlp_fast.inference.shipped import shipped_model

    answer = call("export", shipped_model(SOHO), tmp_path / "model", "--licence", "ours alone")
    assert answer.code == 0, answer.err
    assert "match, fill, codes" in answer.out
    assert "ours alone" in (tmp_path / "model/README.md").read_text()
    assert call("export", shipped_model(SOHO), tmp_path / "model").code == 2
    assert call("export", tmp_path, tmp_path / "other").code == 2
    assert call("predict", tmp_path / "model", pictures[0], "--text", "a star").code == 0
    assert call("export", shipped_model(SOHO), "/proc/model").code == 2
    assert call("export", SOHO, tmp_path / "by its name", "--format", "fp16").code == 0
    long = call("export", SOHO, tmp_path / "long", "--program", 64, 64, "--tokens", 25)
    assert (long.code, "--tokens: " in long.err) == (2, True)
    assert not (tmp_path / "long").exists()


def test_a_full_disk_leaves_nothing(call: Call, tmp_path: Path) -> None:
    """Of files that may not become as large as the weights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        answer = call("export", SOHO, tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "model: cannot be written" in answer.err
    assert not list(tmp_path.iterdir())


def test_two_pictures_are_seen_once_for_all_sentences(pictures: list[Path]) -> None:
    model = untrained(ReasoningConfig(head="linear"))
    asked = Predict(model="x", images=tuple(pictures[:2]), sentence=("a star", "is it true ?"))
    seen = []
    see = model.trained.model.see
    model.trained.model.see = lambda *args, **options: (  # type: ignore[method-assign]
        seen.append(len(args[0])) or see(*args, **options)  # type: ignore[func-returns-value]
    )
    data = model.trained.about.data
    both = tuple(open_picture(path, data) for path in pictures[:2])
    (rows,) = said.SAYS["compare"](asked, model, [both])
    assert sum(seen) == 2
    for one in rows:
        alone = model.compare(*pictures[:2], one["asked"])
        assert one["score"] == pytest.approx(alone.score, abs=1e-6)  # type: ignore[union-attr]


@pytest.fixture
def mixed(pictures: list[Path], tmp_path: Path) -> list[Path]:
    """Drawings of three sizes, with a file that is none among them."""
    for number, size in enumerate([(64, 64), (48, 64), (64, 64), (40, 56), (48, 64)]):
        picture = Image.open(pictures[number % 3]).convert("RGB")
        picture.crop((0, 0, *size)).save(tmp_path / f"{number}.png")
    (tmp_path / "2b.png").write_text("no picture")
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (E2E_VLP, ["--threshold", "0.2"]),
        (SOHO, ["--text", "a star", "--text", "a circle", "--fill", "a [MASK] circle"]),
        ("vqa_soho_small_world", ["--question", "what color is it?", "--question", "how many?"]),
    ],
)
def test_many_pictures_have_the_results_of_each_alone(
    call: Call, mixed: list[Path], model: str, asked: list[str]
) -> None:
    answer = call("predict", model, *mixed, *asked, "--json", "--device", "cpu")
    assert (answer.code, answer.err.count("2b.png")) == (2, 1)
    good = [path for path in mixed if path.name != "2b.png"]
    rows = [json.loads(line) for line in answer.out.splitlines()]
    alone = [
        json.loads(call("predict", model, path, *asked, "--json", "--device", "cpu").out)
        for path in good
    ]
    for row, one in zip(rows, alone, strict=True):
        assert_alike(row, one)
    assert [row["images"] for row in rows] == [[str(path)] for path in good]


def assert_alike(one: Any, other: Any) -> None:
    """Equal, numbers to rounding."""
    if isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-4)
    elif isinstance(one, dict | list):
        assert len(one) == len(other)
        keys = one.keys() if isinstance(one, dict) else range(len(one))
        for key in keys:
            assert_alike(one[key], other[key])
    else:
        assert one == other


def test_results_come_as_they_are_found(
    call: Call, mixed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are asked about together; what a group says is out before the next is opened."""
    done: list[object] = []
    match, flush, opened = said.SAYS["match"], predict.flush_output, open_picture
    spies = {
        (groups, "open_picture"): lambda path, data: done.append(path.name) or opened(path, data),  # type: ignore[func-returns-value]
        (predict, "flush_output"): lambda: done.append("flushed") or flush(),  # type: ignore[func-returns-value]
    }
    for (place, name), spy in spies.items():
        monkeypatch.setattr(place, name, spy)
    monkeypatch.setitem(
        said.SAYS, "match", lambda *given: done.append(len(given[2])) or match(*given)
    )
    monkeypatch.setattr(groups, "PIXELS_ON_A_CPU", 64 * 64 + 1)
    assert call("predict", SOHO, *mixed, "--text", "a star", "--device", "cpu").code == 2
    first, second = ["0.png", "1.png", 2, "flushed"], ["2.png", "2b.png", "3.png", 2]
    assert done == [*first, *second, "flushed", "flushed", "4.png", 1, "flushed"]


def test_small_pictures_go_together_and_large_ones_alone(tmp_path: Path) -> None:
    for side in (64, 600):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / f"{side}.png")
    small, large = ((tmp_path / f"{side}.png",) for side in (64, 600))
    own = DataConfig(shorter_held_out=None, longer=None)
    samples = [small] * 70 + [large] * 2 + [small]
    sizes = [len(group) for group in groups.in_groups(samples, own, is_gpu=False)]
    assert sizes == [64, 7, 1, 1]
    assert [len(g) for g in groups.in_groups(samples, own, is_gpu=True)] == [64, 9]


def test_a_question_that_is_not_read_to_its_end_is_told_once(
    call: Call, pictures: list[Path]
) -> None:
    question = "how many circles are there " * 100
    asked = "predict", "vqa_soho_small_world", *pictures, "--device", "cpu", "--question"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = call(*asked, question)
    assert (answer.code, answer.err.count("\n")) == (0, 1)
    assert "--question: received 'how many" in answer.err
    assert "of which the model reads 22 tokens" in answer.err
    assert call(*asked, "how many circles are there?").err == ""
