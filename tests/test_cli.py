"""The command line: good commands work, bad input is one line, exit code 2 and no harm done."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlp_fast.cli import main
from vlp_fast.engine.recorded_run import restore_run
from vlp_fast.recipes import RECIPES

Call = Callable[..., Any]  # the fixture of conftest.py
FEW = ("--steps", "2", "--train.batch-size", "4", "--train.held-out-images", "3")
SMALL = (*FEW, "--model.width", "32", "--data.num-workers", "0", "--data.no-cache")
SOHO = (*SMALL, "--model.num-codes", "16", "--task.tagging-steps", "0")
E2E_VLP = (*SMALL, "--model.num-heads", "2", "--model.encoder-layers", "1")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def trained(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps, with its picture."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["train", "soho_tiny", "--data.root", small_world, "--run-dir", folder, *SOHO]
    assert main([str(word) for word in words]) == 0
    return folder


@pytest.fixture
def copy(copied_world: Path) -> Path:
    """A data set to be damaged."""
    return copied_world


def without_boxes(root: Path) -> None:
    """Leave Karpathy's file and the pictures only."""
    (root / "world.json").unlink()
    shutil.rmtree(root / "annotations")


def assert_drawn(path: Path) -> None:
    """Curves, words and pictures: each third of the report has light, dark and colour."""
    with Image.open(path) as picture:
        width, height = picture.size
        assert min(width, height) > 300
        for top in (0, height // 3, 2 * height // 3):
            band = picture.crop((0, top, width, top + height // 3))
            dark, light = band.convert("L").getextrema()
            assert dark < 64 < 192 < light
            assert band.convert("HSV").getchannel("S").getextrema()[1] > 128


@pytest.mark.parametrize(("name", "sizes"), [("soho_tiny", SOHO), ("e2e_vlp_tiny", E2E_VLP)])
def test_train_resume_and_evaluate(
    call: Call, small_world: Path, tmp_path: Path, name: str, sizes: tuple[str, ...]
) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "run"
    words = ("train", name, "--data.root", small_world, "--run-dir", folder, *sizes)
    first = call(*words)
    assert first.code == 0, first.err
    assert "step 2/2" in first.out
    assert "held out, step 2" in first.out
    assert_drawn(folder / "report.png")
    (folder / "report.png").unlink()
    other = call("evaluate", folder, "--split", "test", "--images", "2")
    assert other.code == 0, other.err
    assert "itm_accuracy" in other.out
    assert not (folder / "report.png").exists()
    run = restore_run(folder)
    assert (run.name, run.steps, run.model.width) == (name, 2, 32)
    more = call(*words, "--steps", "3")
    assert more.code == 0, more.err
    assert "steps 2 to 3" in more.out
    answer = call("evaluate", folder)
    assert answer.code == 0, answer.err
    figures = dict(line.split() for line in answer.out.splitlines() if len(line.split()) == 2)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    held_out = [row for row in rows if row["kind"] == "held_out"][-1]
    for key in ("mlm", "itm", "itm_accuracy"):
        assert float(figures[key]) == pytest.approx(held_out[key], abs=1e-3)


def test_recipes_are_listed(call: Call) -> None:
    answer = call("recipes")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == list(RECIPES)
    assert len({line.index(" images a step") for line in answer.out.splitlines()}) == 1
    call("recipes", "soho").assert_refused("takes no arguments", "soho")
    assert "1024 images" in next(line for line in answer.out.splitlines() if "r101_12" in line)


def test_make_world(call: Call, tmp_path: Path) -> None:
    answer = call("data", "make-world", tmp_path / "w", "--images", 8, "--seed", 3)
    assert answer.code == 0, answer.err
    assert f"--data.root {tmp_path / 'w'}" in answer.out
    assert len(list((tmp_path / "w" / "images").iterdir())) == 8
    call("data", "make-world", tmp_path / "v", "--images", 0).assert_refused("0 images")
    assert not (tmp_path / "v").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    call("data", "make-world", tmp_path / "mine", "--images", 8).assert_refused("mine")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["-h"], 0),
        ([], 2),
        (["train", "--help"], 0),
        (["train"], 2),
        (["evaluate", "--help"], 0),
        (["evaluate"], 2),
        (["recipes", "--help"], 0),
        (["data", "--help"], 0),
        (["data"], 2),
        (["doctor", "--help"], 0),
    ],
)
def test_usage(call: Call, words: list[str], code: int) -> None:
    answer = call(*words)
    assert answer.code == code
    assert "usage: vlp-fast" in answer.out


def test_every_setting_is_in_the_help_of_a_recipe(call: Call) -> None:
    answer = call("train", "soho_tiny", "--help")
    assert answer.code == 0
    assert "--resume never it refuses" in call("train", "--help").out
    for option in ("--data.root", "--optim.lr", "--run-dir", "--model.num-codes", "--resume"):
        assert option in answer.out


def test_an_unknown_command(call: Call) -> None:
    call("trian").assert_refused("trian", "train, evaluate")


def test_an_unknown_recipe(call: Call) -> None:
    call("train", "soho_r101").assert_refused("soho_r101", "soho_r101_12")


def test_no_data(call: Call, tmp_path: Path) -> None:
    answer = call("train", "soho_tiny", "--run-dir", tmp_path / "run")
    answer.assert_refused("--data.root", "make-world")
    assert not (tmp_path / "run").exists()


def damage_nothing(root: Path) -> None:
    pass


def truncate_json(root: Path) -> None:
    path = root / "dataset_coco.json"
    path.write_text(path.read_text()[:5000])


def remove_layout(root: Path) -> None:
    for path in [*root.glob("*.json"), *root.glob("annotations/*.json")]:
        path.unlink()


def remove_pictures(root: Path) -> None:
    (root / "images").unlink()
    (root / "images").mkdir()


def rename_a_class(root: Path) -> None:
    """Official COCO files whose two splits number their categories differently."""
    split_of = {
        image["cocoid"]: image["split"]
        for image in json.loads((root / "dataset_coco.json").read_text())["images"]
    }
    for kind in ("captions", "instances"):
        whole = json.loads((root / f"annotations/{kind}_world.json").read_text())
        for split in ("train", "val"):
            part = {
                **whole,
                "images": [i for i in whole["images"] if split_of[i["id"]] == split],
                "annotations": [
                    a for a in whole["annotations"] if split_of[a["image_id"]] == split
                ],
            }
            if kind == "instances" and split == "val":
                part["categories"] = [{**c, "name": c["name"] + "!"} for c in whole["categories"]]
            (root / f"annotations/{kind}_{split}2017.json").write_text(json.dumps(part))
            if not (root / f"{split}2017").exists():
                (root / f"{split}2017").symlink_to(root / "images")
        (root / f"annotations/{kind}_world.json").unlink()
    for path in root.glob("*.json"):
        path.unlink()


def truncate_scenes(root: Path) -> None:
    path = root / "world.json"
    path.write_text(path.read_text()[:-20])


def say_the_same(root: Path) -> None:
    """One caption for every picture."""
    shutil.rmtree(root / "annotations")
    (root / "world.json").unlink()
    path = root / "dataset_coco.json"
    data = json.loads(path.read_text())
    for image in data["images"]:
        image["sentences"] = [{**s, "raw": "a photo."} for s in image["sentences"]]
    path.write_text(json.dumps(data))


BAD: dict[str, tuple[Callable[..., None], str, tuple[str, ...], tuple[str, ...]]] = {
    "folder": (damage_nothing, "e2e_vlp_tiny", ("--data.root", "/absent/x"), ("/absent/x",)),
    "json": (truncate_json, "soho_tiny", (), ("dataset_coco.json",)),
    "scenes": (truncate_scenes, "soho_tiny", (), ("world.json", "make-world")),
    "layout": (remove_layout, "soho_tiny", (), ("no known layout",)),
    "pictures": (remove_pictures, "soho_tiny", (), ("images",)),
    "boxes": (without_boxes, "e2e_vlp_tiny", (), ("no boxes", "detection")),
    "batch": (damage_nothing, "soho_tiny", ("--train.batch-size", "99"), ("54", "batch-size")),
    "no batch": (damage_nothing, "soho_tiny", ("--train.batch-size", "0"), ("batch-size",)),
    "classes": (rename_a_class, "e2e_vlp_tiny", (), ("classes of objects",)),
    "tagging": (
        damage_nothing,
        "soho_tiny",
        ("--task.tagging-steps", "5"),
        ("--steps 2", "--task.tagging-steps"),
    ),
    "tagging epochs": (
        damage_nothing,
        "soho_tiny",
        ("--steps", "None", "--train.epochs", "1", "--task.tagging-steps", "13"),
        ("--train.epochs 1: the run has 13 steps", "--task.tagging-steps 13"),
    ),
    "codebook": (
        damage_nothing,
        "soho_tiny",
        ("--task.codebook-samples", "15"),
        ("--task.codebook-samples 15", "16 codes"),
    ),
    "captions": (say_the_same, "soho_tiny", (), ("train (Karpathy) has one caption only",)),
    "gpu": (damage_nothing, "soho_tiny", ("--train.device", "cuda"), ("--train.device cuda",)),
    "weights": (
        damage_nothing,
        "soho_tiny",
        ("--init", "/absent/r18.pth"),
        ("/absent/r18.pth",),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(call: Call, copy: Path, tmp_path: Path, case: str) -> None:
    damage, name, words, named = BAD[case]
    if case == "gpu":
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
    damage(copy)
    folder = tmp_path / "run"
    sizes = SOHO if name == "soho_tiny" else E2E_VLP
    arguments = ("train", name, "--data.root", copy, "--run-dir", folder, *sizes, *words)
    call(*arguments).assert_refused(*named)
    assert not folder.exists()


def test_boxes_are_not_needed_without_detection(call: Call, copy: Path, tmp_path: Path) -> None:
    without_boxes(copy)
    folder = tmp_path / "run"
    common = ("--data.root", copy, "--run-dir", folder, "--train.no-picture")
    soho = call("train", "soho_tiny", *common, *SOHO)
    assert soho.code == 0, soho.err
    shutil.rmtree(folder)
    e2e = call("train", "e2e_vlp_tiny", *common, *E2E_VLP, "--task.no-detection")
    assert e2e.code == 0, e2e.err
    assert "detection" not in json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("content", ["[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\n", None])
def test_a_vocabulary_without_mask(
    call: Call, small_world: Path, tmp_path: Path, content: str | None
) -> None:
    path, folder = tmp_path / "vocab.txt", tmp_path / "run"
    if content is not None:
        path.write_text(content)
    common = ("--data.root", small_world, "--run-dir", folder, *SOHO)
    answer = call("train", "soho_tiny", *common, "--data.vocabulary", path)
    answer.assert_refused(path, *(["[MASK]"] if content else []))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--data.root", "/absent"), "/absent"),
        (("--model.ffn-dim", "64"), "holds another model"),
        (("--resume", "never"), "earlier run"),
        (("--data.vocabulary", "/absent.txt"), "/absent.txt"),
    ],
)
def test_a_refused_command_leaves_the_run_as_it_was(
    call: Call, trained: Path, small_world: Path, words: tuple[str, ...], named: str
) -> None:
    before = snapshot(trained)
    common = ("--data.root", small_world, "--run-dir", trained, *SOHO)
    call("train", "soho_tiny", *common, *words).assert_refused(named)
    assert snapshot(trained) == before


def test_another_recipe_in_the_folder_is_refused(
    call: Call, trained: Path, small_world: Path
) -> None:
    before = snapshot(trained)
    common = ("--data.root", small_world, "--run-dir", trained, *E2E_VLP)
    call("train", "e2e_vlp_tiny", *common).assert_refused(
        "a run of recipe soho_tiny, and asked is e2e_vlp_tiny"
    )
    assert snapshot(trained) == before


def test_evaluate_needs_a_run(call: Call, tmp_path: Path) -> None:
    call("evaluate", tmp_path).assert_refused(tmp_path, "run.json")
    call("evaluate", tmp_path / "absent").assert_refused("absent")
    call("evaluate", tmp_path, "--images", "0").assert_refused("--images = 0, expected 1 or more")
    call("evaluate", tmp_path, "--splt", "test").assert_refused("--splt", "--split")


def test_evaluate_knows_the_splits_of_the_data(call: Call, trained: Path) -> None:
    call("evaluate", trained, "--split", "absent").assert_refused("absent")


def test_a_broken_picture_is_replaced_and_reported(
    call: Call, small_world: Path, copy: Path, tmp_path: Path
) -> None:
    (copy / "images").unlink()
    shutil.copytree(small_world / "images", copy / "images")
    for path in sorted((copy / "images").iterdir())[:30]:
        path.write_bytes(path.read_bytes()[:60])
    held_out = {path.name for path in sorted((copy / "images").iterdir())[3:30:20]}
    folder = tmp_path / "run"
    words = ("train", "soho_tiny", "--data.root", copy, "--run-dir", folder, *SOHO)
    answer = call(*words, "--data.max-replaced", 1)
    assert answer.code == 0, answer.err
    assert "replaced: " in answer.out
    assert answer.out.count(f"warning: pictures are broken; `vlp-fast data check {copy}`") == 1
    lines = (folder / "bad_samples.jsonl").read_text().splitlines()
    problems = [json.loads(line) for line in lines]
    assert problems[0]["step"] in (0, 1)
    assert str(copy / "images") in problems[0]["problem"]
    assert "is shown instead" in problems[0]["problem"]
    again = call("evaluate", folder)
    assert again.code == 0, again.err
    told = [line for line in again.out.splitlines() if line.startswith("replaced: ")]
    assert {name for name in held_out if any(name in line for line in told)} == held_out


@pytest.mark.parametrize(
    "words", [["--help"], ["train", "--help"], ["recipes"], ["bench", "--help"]]
)
def test_help_needs_no_torch_and_no_time(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from vlp_fast.cli import main\n"
        f"code = main({words!r})\n"
        "heavy = {'torch', 'numpy', 'tokenizers', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)\n"
    )
    times = []
    for _ in range(3):  # of the processor: other work on the machine is not the command's
        before = os.times()[2:4]
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        times.append(sum(os.times()[2:4]) - sum(before))
        assert done.returncode == 0, done.stderr
        assert "vlp-fast" in done.stdout or "soho" in done.stdout
    assert min(times) < 0.5


def test_the_module_is_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vlp_fast", "nonsense"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vlp-fast: no command named 'nonsense'")
