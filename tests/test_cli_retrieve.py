"""`vlp-fast retrieve` on any pictures and texts, and retrieval from training to its figures."""

import errno
import io
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlp_fast.cli import main
from vlp_fast.tasks.retrieval.gallery import read_gallery

OTHER = pytest.param("e2e_vlp", marks=pytest.mark.exhaustive)
Call = Callable[..., Any]  # the fixture of conftest.py
QUICK = ["--data.num-workers", 0, "--train.batch-size", 4, "--train.no-picture", "--steps", 1]
QUICK += ["--data.shorter", 48, "--data.shorter-held-out", 48, "--data.longer", 80]


@pytest.fixture(scope="module", params=["soho", OTHER])
def run(
    request: pytest.FixtureRequest, small_world: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("retrieval") / request.param
    words = ["train", f"retrieval_{request.param}_tiny", "--data.root", small_world, *QUICK]
    assert main([str(word) for word in (*words, "--run-dir", folder)]) == 0
    return Path(folder)


@pytest.fixture
def pictures(small_world: Path, tmp_path: Path) -> Path:
    """Some of the world, in another format, below one another, with things that are no pictures."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for place, path in enumerate(sorted((small_world / "images").iterdir())[:5]):
        target = folder / ("more" if place % 2 else ".") / f"{place}.{('jpg', 'PNG')[place % 2]}"
        Image.open(path).save(target)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("no picture")
    (folder / "README").write_text("no picture")
    return folder


def lines_of(answer: Any) -> list[str]:
    return [line for line in answer.out.splitlines() if line[:4].strip().isdigit()]


def test_pictures_for_texts(call: Call, run: Path, pictures: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "found.png"
    words = ["--query", "a red circle", "--query", " a blue\n square", "--images", pictures]
    answer = call("retrieve", run, *words, "--top", 3, "--out", sheet)
    assert answer.code == 0, answer.err
    lines = lines_of(answer)
    assert [line.split()[0] for line in lines] == ["1", "2", "3"] * 2
    scores = [float(line.split()[1]) for line in lines]
    assert scores[:3] == sorted(scores[:3], reverse=True)
    shares = [1 / (1 + math.exp(-score)) for score in scores]
    assert [float(line.split()[2]) for line in lines] == pytest.approx(shares, abs=2e-4)
    names = [line.split()[3] for line in lines]
    assert set(names) <= {"0.jpg", "more/1.PNG", "2.jpg", "more/3.PNG", "4.jpg"}
    assert len(set(names[:3])) == 3
    assert "\na blue square:\n" in answer.out
    with Image.open(sheet) as image:
        assert image.width > 3 * image.height / 4
        assert len(set(image.convert("RGB").resize((64, 64)).tobytes())) > 20
    assert call("retrieve", run, *words, "--top", 9).out.count("/1.PNG") == 2
    assert (run / "retrieved.png").is_file()


def test_texts_for_a_picture(call: Call, run: Path, pictures: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text(
        "a red circle\n\n  a blue   square\na red circle\nfür élise 你好\n", "utf-8-sig"
    )
    answer = call("retrieve", run, "--image", pictures / "2.jpg", "--texts", texts)
    assert answer.code == 0, answer.err
    assert sorted(line.split(None, 3)[-1] for line in lines_of(answer)) == [
        "a blue square", "a red circle", "für élise 你好",
    ]  # fmt: skip
    assert "picture: " in answer.out


def test_a_sheet_has_no_more_than_can_be_drawn(
    call: Call, run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 400 pictures in a row matplotlib would think for hours."""
    monkeypatch.setattr("vlp_fast.cli.retrieve.DRAWN", 2)
    sheet, queries = tmp_path / "found.png", [w for n in "abc" for w in ("--query", f"a {n}")]
    answer = call("retrieve", run, *queries, "--images", pictures, "--top", 4, "--out", sheet)
    assert len(lines_of(answer)) == 12
    assert "note: the sheet has the first 2 of each" in answer.out
    with Image.open(sheet) as image:
        assert image.size == (2 * 256, 2 * 304)
    texts = tmp_path / "texts.txt"
    texts.write_text("a\nb\nc\n")
    answer = call("retrieve", run, "--image", pictures / "2.jpg", "--texts", texts)
    assert "note: the sheet has the first 2\n" in answer.out


def test_broken_pictures_are_passed_over_and_named(call: Call, run: Path, pictures: Path) -> None:
    whole = call("retrieve", run, "--query", "a red circle", "--images", pictures, "--top", 9)
    (pictures / "empty.png").write_bytes(b"")
    cut = (pictures / "0.jpg").read_bytes()
    (pictures / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (pictures / "link.gif").symlink_to("nowhere")
    found = call("retrieve", run, "--query", "a red circle", "--images", pictures, "--top", 9)
    assert found.code == 0, found.err
    assert lines_of(found) == lines_of(whole)
    notes = [line for line in found.out.splitlines() if line.startswith("note: passed over: ")]
    for name in ("empty.png", "cut.jpg", "link.gif"):
        assert sum(name in note for note in notes) == 1, notes


def test_what_the_model_cannot_read_is_told(call: Call, run: Path, pictures: Path) -> None:
    long = "a red circle and " * 40
    words = ("--query", "你好", "--query", long, "--images", pictures)
    answer = call("retrieve", run, *words)
    assert answer.code == 0, answer.err
    assert "note: '你好': the run's vocabulary has none of its words" in answer.out
    assert "is cut to the 24 tokens that the run reads" in answer.out


def test_copies_of_a_picture_are_told_where_the_list_is_cut(
    call: Call, run: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    for name in "abcd":
        shutil.copy(pictures / "0.jpg", folder / f"{name}.jpg")
    answer = call("retrieve", run, "--query", "a red circle", "--images", folder, "--top", 3)
    assert [line.split()[-1] for line in lines_of(answer)] == ["a.jpg", "b.jpg", "c.jpg"]
    assert "note: 1 more have the score of the last one" in answer.out


def test_calls_without_sense_are_one_line(
    call: Call, run: Path, pictures: Path, tmp_path: Path
) -> None:
    empty, blank, binary = tmp_path / "empty", tmp_path / "blank.txt", tmp_path / "binary.txt"
    empty.mkdir()
    os.mkfifo(pipe := tmp_path / "pipe.png")
    blank.write_text(" \n\n")
    binary.write_bytes(b"\xff\xfe\x00")
    query = ("--query", "a red circle")
    picture = ("--image", pictures / "0.jpg")
    forms = ("--query TEXT with --images DIR", "--image FILE with --texts FILE")
    for words, named in (
        ((), forms),
        (query, forms),
        ((*query, "--images", pictures, *picture), forms),
        ((*picture, "--images", pictures), forms),
        (("--query", " \t", "--images", pictures), ("--query", "empty text")),
        (("--query", "\u200b", "--images", pictures), ("has no word",)),
        ((*query, "--images", empty), ("has no picture", "--images")),
        ((*query, "--images", tmp_path / "absent"), ("absent: no such folder", "--images")),
        ((*query, "--images", pictures / "0.jpg"), ("is a file, not a folder", "--images")),
        ((*query, "--images", pictures, "--top", 0), ("--top",)),
        ((*query, "--images", pictures, "--out", tmp_path / "no" / "x.png"), ("no such", "--out")),
        ((*query, "--images", pictures, "--out", pipe), ("is a device or a pipe", "--out")),
        ((*picture, "--texts", blank), ("holds no text", "--texts")),
        ((*picture, "--texts", binary), ("not UTF-8", "--texts")),
        ((*picture, "--texts", tmp_path / "absent.txt"), ("no such file", "--texts")),
        (("--image", blank, "--texts", pictures / "notes.txt"), ("blank.txt",)),
    ):
        call("retrieve", run, *words).assert_refused(*named)


def test_pictures_that_are_all_broken_are_one_line(call: Call, run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    words = ("--query", "a red circle", "--images", tmp_path)
    call("retrieve", run, *words).assert_refused("has no picture; 1 cannot be read", "a.png")
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "PNG")
    for name in ("a.png", "b.png"):  # of which the headers can be read
        (tmp_path / name).write_bytes(whole.getvalue()[:-200])
    call("retrieve", run, *words).assert_refused("has no picture; 2 cannot be read", "a.png")


def test_a_folder_that_may_not_be_listed_is_named(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = os.scandir

    def refused(path: str) -> Any:
        if str(path).endswith("more"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refused)
    found, broken = read_gallery(pictures)
    assert [record.path.name for record in found.records] == ["0.jpg", "2.jpg", "4.jpg"]
    assert broken == [f"{pictures / 'more'}: Permission denied"]


def test_runs_that_have_not_learnt_to_match_are_refused(
    call: Call, run: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ("--query", "a red circle", "--images", pictures)
    call("retrieve", tmp_path / "none", *words).assert_refused("no readable run.json")
    other = other_task(run, tmp_path / "other", "downstream.config.EntailmentConfig", {})
    call("retrieve", other, *words).assert_refused("has not learnt to match")
    bare = shutil.copytree(run, tmp_path / "bare")
    for path in bare.glob("checkpoint-*"):
        shutil.rmtree(path)
    call("retrieve", bare, *words).assert_refused(bare, "checkpoint")


def other_task(run: Path, folder: Path, kind: str, settings: dict[str, Any]) -> Path:
    """The run as if it had been one of another task."""
    shutil.copytree(run, folder)
    described = json.loads((folder / "run.json").read_text())
    described["kinds"]["task"] = f"vlp_fast.tasks.{kind}"
    described["config"]["task"] = settings
    (folder / "run.json").write_text(json.dumps(described))
    return folder


def test_a_run_of_pre_training_reads_codes(
    call: Call, run: Path, pictures: Path, tmp_path: Path
) -> None:
    """As it has learnt to match; retrieval reads the features unless it learnt with codes."""
    if run.name != "soho":
        pytest.skip("it has no codes")
    words = ("--query", "a red circle", "--images", pictures)
    found = [
        call("retrieve", folder, *words)
        for folder in (
            run,
            other_task(run, tmp_path / "a", "pretraining.config.SohoPretrainingConfig", {}),
            other_task(
                run, tmp_path / "b", "retrieval.config.BinaryRetrievalConfig", {"codes": True}
            ),
        )
    ]
    features, pretrained, codes = (lines_of(answer) for answer in found)
    assert len(pretrained) == 5, found[1].err
    assert pretrained == codes != features


def test_evaluation_ranks_a_split_and_keeps_nothing(call: Call, run: Path) -> None:
    answer = call("evaluate", run, "--split", "train", "--images", 6, "--task.captions", "five")
    assert answer.code == 0, answer.err
    assert "of world train, 6 examples, set " in answer.out
    figures = dict(line.split() for line in answer.out.splitlines() if len(line.split()) == 2)
    assert {f"{way}_r{k}" for way in ("ir", "tr") for k in (1, 5, 10)} < set(figures)
    assert float(figures["ir_r10"]) == 100
    assert "note: ranked: 6 pictures and 30 captions (at most five of each" in answer.out
    assert "note: ties: " in answer.out
    assert not list(run.glob("evaluation*"))
    call("evaluate", run, "--split", "train", "--images", 6, "--task.fold", 4)
    words = ("evaluate", run, "--split", "train", "--images", 6)
    refused = call(*words, "--task.fold", 4)
    assert refused.code == 2
    assert "no whole folds" in refused.err
    call("submit", run, "--out", run / "x.json").assert_refused("no answers to hand in")


def test_rankings_are_of_one_data_set(call: Call, small_world: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small_world, tmp_path / "copy")
    words = ["train", "retrieval_soho_tiny", "--data.root", small_world, "--data.root", copy]
    call(*words, "--run-dir", tmp_path / "run", *QUICK).assert_refused("learns from one")
