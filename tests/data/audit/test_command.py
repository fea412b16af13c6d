"""`vlp-fast data check`: what is printed, written and returned."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


def test_a_healthy_world(call: Call, world: Path) -> None:
    answer = call("data", "check", world)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[-1] == "ready: a run refuses nothing and replaces no picture"
    assert lines[1].split()[:3] == ["world", "train", "54"]


def test_a_damaged_world(call: Call, world: Path, tmp_path: Path) -> None:
    broken = sorted((world / "images").iterdir())[:5]
    for path in broken:
        path.write_bytes(b"")
    (world / "images" / "spare.png").write_bytes(b"x")
    report = tmp_path / "report.json"
    answer = call("data", "check", world, "--json", report, "--workers", 2)
    assert (answer.code, answer.err) == (1, "")
    assert answer.out.index("REPLACED: ") < answer.out.index("TOLD: ")
    line = next(line for line in answer.out.splitlines() if "image files are empty" in line)
    assert line.split()[0] == "5"
    assert "images/000000000003.png: has no content, ..." in answer.out
    assert "000000000004.png" not in answer.out  # three are enough
    assert answer.out.splitlines()[-1] == ("not ready: 5 pictures are replaced")
    written = json.loads(report.read_text())
    assert written["is_clean"] is False
    assert len(written["findings"][0]["examples"]) == 5
    assert written["splits"][0]["images"] == 54


def test_names_of_strangers_obey_no_terminal(call: Call, coco_folder: Path) -> None:
    path = coco_folder / "annotations/captions_train2017.json"
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = "\x1b[2Jnot there.png"
    document["annotations"][2]["caption"] = "\x1b]0;!\u202e"
    path.write_text(json.dumps(document))
    instances = coco_folder / "annotations/instances_train2017.json"
    instances.write_text(instances.read_text().replace("toothbrush", "\\u001b[31mbrush"))
    answer = call("data", "check", coco_folder)
    assert answer.code == 1
    assert "\\x1b[2Jnot there.png" in answer.out
    assert all(character.isprintable() or character == "\n" for character in answer.out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no folder is given"),
        (("absent",), "absent: no such folder"),
        ((".", "."), "is given twice"),
        ((".", "--workers", "-1"), "--workers = -1"),
        ((".", "--layout", "png"), "--layout"),
        ((".", "--json", "absent/report.json"), "--json is a file to write"),
        ((".",), "no known layout"),
    ],
)
def test_wrong_use(
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    call("data", "check", *words).assert_refused(said)


def test_one_split_of_captions(call: Call, coco_folder: Path) -> None:
    (coco_folder / "annotations/captions_train2017.json").unlink()
    assert call("data", "check", coco_folder).code == 1
    answer = call("data", "check", coco_folder, "--split", "val")
    assert answer.code == 0
    assert "COCO val2017" in answer.out


def test_real_photographs(call: Call, shared_data: Path, tmp_path: Path) -> None:
    words = ("data", "check", shared_data / "coco", "--cache", tmp_path / "known.json")
    answer = call(*words)
    assert answer.code == 0
    assert "2,796 image files looked at" in answer.out
    assert "1  boxes without extent dropped" in answer.out
    assert "leaked" not in answer.out.lower()
    assert "2,796 of them known from before" in call(*words).out
