"""Folders that are handed on: the same answers, nothing of the run's paths, whole or absent."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import vlp_fast
from tests.inference.conftest import Drawn, untrained
from vlp_fast.cli import main
from vlp_fast.errors import InputError
from vlp_fast.inference import exported, shipped
from vlp_fast.inference.predictor import Predictor
from vlp_fast.tasks.downstream.config import AnsweringConfig

FILES = {"README.md", "config.json", "model.safetensors", "vocab.txt"}
QUICK = ["--data.num-workers", 0, "--train.batch-size", 4, "--train.no-picture", "--steps", 1]
QUICK += ["--data.shorter", 48, "--data.shorter-held-out", 48, "--data.longer", 80]


@pytest.fixture(scope="module")
def run(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step, with a head of its own and an average of its weights."""
    folder = tmp_path_factory.mktemp("runs") / "vqa"
    words = ["train", "vqa_soho_tiny", "--data.root", small_world, *QUICK, "--train.ema", 0.5]
    assert main([str(word) for word in (*words, "--run-dir", folder)]) == 0
    return folder


def test_an_exported_run_answers_as_the_run(run: Path, drawn: Drawn, tmp_path: Path) -> None:
    about = exported.export(run, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == FILES
    one, other = vlp_fast.load(run, device="cpu"), vlp_fast.load(tmp_path / "model", device="cpu")
    question = "how many circles are there?"
    assert one.answer(drawn.paths[:3], question) == other.answer(drawn.paths[:3], question)
    assert other.trained.about.answers == about.answers == one.trained.about.answers
    assert len(about.answers) > 2
    weights = [model.trained.model.state_dict() for model in (one, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    (average,) = run.glob("checkpoint-*/average.safetensors")
    kept = load_file(average)
    assert all(torch.equal(value, kept[f"model.{n}"]) for n, value in weights[0].items())
    exported.export(tmp_path / "model", tmp_path / "again")
    assert (tmp_path / "again/config.json").read_text() == (
        tmp_path / "model/config.json"
    ).read_text()


def test_nothing_tells_where_the_run_was(run: Path, tmp_path: Path, small_world: Path) -> None:
    exported.export(run, tmp_path / "model")
    for name in FILES:
        content = (tmp_path / "model" / name).read_bytes()
        for place in (run, small_world, Path.home()):
            assert str(place).encode() not in content
    card = (tmp_path / "model/README.md").read_text()
    assert "vqa_soho_tiny" in card
    assert "| answering |" in card
    assert "model.answer(" in card
    assert "`world`, split train" in card


def test_half_the_bytes_say_nearly_the_same(soho: Predictor, drawn: Drawn, tmp_path: Path) -> None:
    folder = shipped.shipped_model("soho_small_world")
    for name in ("fp16", "bf16"):
        exported.export(folder, tmp_path / name, format=name)  # type: ignore[arg-type]
        other = vlp_fast.load(tmp_path / name, device="cpu")
        texts = ["a red circle", "a blue star"]
        pair = [model.match(drawn.paths[:4], texts) for model in (soho, other)]
        np.testing.assert_allclose(*pair, atol=0.05)
    with safe_open(tmp_path / "fp16/model.safetensors", "pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert torch.float16 in kinds
    assert torch.bfloat16 not in kinds


def test_what_half_precision_cannot_hold_stays_whole() -> None:
    large = torch.tensor([1.0, 1e6])
    assert torch.equal(exported._stored(large, torch.float16), large)
    assert exported._stored(large, torch.bfloat16).dtype == torch.bfloat16
    broken = torch.tensor([float("nan")])
    assert exported._stored(broken, torch.float16).dtype == torch.float16


def test_a_folder_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = shipped.shipped_model("soho_small_world"), tmp_path / "model"

    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(exported, "card_of", full)
        with pytest.raises(InputError, match="No space left on device"):
            exported.export(source, folder)
    assert not list(tmp_path.iterdir())
    exported.export(source, folder)
    with pytest.raises(InputError, match="is there already"):
        exported.export(source, folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", lambda text: text[:-40], "does not describe a model"),
        ("config.json", lambda text: text.replace("Soho", "Other"), "does not describe a model"),
        ("config.json", lambda text: "[]", "does not describe a model"),
        (
            "config.json",
            lambda text: text.replace('"num_codes": 64', '"num_codes": 32'),
            "does not hold",
        ),
        ("vocab.txt", lambda text: "", "vocab"),
        ("vocab.txt", lambda text: text + "another\n", "words"),
    ],
)
def test_damaged_folders(
    tmp_path: Path, name: str, change: Callable[[str], str], message: str
) -> None:
    folder = tmp_path / "model"
    exported.export(shipped.shipped_model("soho_small_world"), folder)
    path = folder / name
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message):
        vlp_fast.load(folder, device="cpu")


HUGE = 10**9


@pytest.mark.parametrize(
    ("model", "place", "value", "message"),
    [
        ("soho_small_world", "config.model.layers", HUGE, "does not hold.*layers = 1,000,000,000"),
        ("soho_small_world", "config.model.backbone.blocks", [HUGE, 1, 1], "blocks = 1,000,000,00"),
        ("soho_small_world", "config.model.width", HUGE, "width = 1,000,000,000"),
        ("soho_small_world", "config.model.ffn_dim", 252, "does not hold"),
        ("soho_small_world", "config.model.ffn_dim", "x", "received 'x', expected int"),
        ("soho_small_world", "config.model.dropout", 1.0, "dropout 1.0, expected 0 to below 1"),
        ("soho_small_world", "config.model.pool", 1, "received 1, expected bool"),
        ("soho_small_world", "config.model.layers", True, "received True, expected int"),
        ("soho_small_world", "kinds.model", None, "a kind is NoneType"),
        ("soho_small_world", "step", float("inf"), "does not describe"),
        ("soho_small_world", "config.data.shorter_held_out", [1.5], "received 1.5, expected int"),
        ("soho_small_world", "config.data.canvas_multiple", HUGE, "1,000,000,000 pixels a side"),
        ("soho_small_world", "config.data.max_text_length", HUGE, "the model has fewer positions"),
        ("e2e_vlp_small_world", "config.task.detection", HUGE, "expected bool"),
        ("e2e_vlp_small_world", "classes", ["a"], "1 names for .* classes"),
    ],
)
def test_a_strangers_settings_cost_nothing(
    tmp_path: Path, model: str, place: str, value: Any, message: str
) -> None:
    """They are looked at before a model is built, which these would take minutes or all memory."""
    folder = tmp_path / "model"
    shutil.copytree(shipped.shipped_model(model), folder)
    settings = json.loads((folder / "config.json").read_text())
    *parents, last = place.split(".")
    inner = settings
    for name in parents:
        inner = inner[name]
    assert last in inner
    inner[last] = value
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=message):
        vlp_fast.load(folder, device="cpu")


def test_weights_of_another_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    exported.export(shipped.shipped_model("soho_small_world"), folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"model\.safetensors: does not hold"):
        vlp_fast.load(folder)


def test_models_that_come_with_the_package(e2e_vlp: Predictor) -> None:
    assert {"e2e_vlp_small_world", "soho_small_world"} <= set(shipped.shipped_names())
    for name in shipped.shipped_names():
        folder = shipped.shipped_model(name)
        assert {path.name for path in folder.iterdir()} == FILES
        assert sum(path.stat().st_size for path in folder.iterdir()) < 5e6
        assert json.loads((folder / "config.json").read_text())["recipe"] == name
    model = vlp_fast.create_model("e2e_vlp_small_world", pretrained=True)
    state = e2e_vlp.trained.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.training  # as every other that `create_model` makes
    assert all(p.requires_grad for p in model.parameters() if p.is_floating_point())
    with pytest.raises(ValueError, match="did you mean soho_small_world"):
        vlp_fast.create_model("soho_smal_world", pretrained=True)
    with pytest.raises(InputError, match=r"no such folder.*soho_small_world"):
        vlp_fast.load("soho_smal_world")


def test_devices_and_formats_that_are_none() -> None:
    with pytest.raises(ValueError, match="device = 'tpu'"):
        vlp_fast.load("soho_small_world", device="tpu")
    with pytest.raises(ValueError, match="precision = 'fp8'"):
        vlp_fast.load("soho_small_world", precision="fp8")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r"^device cuda: torch sees no GPU"):
            vlp_fast.load("soho_small_world", device="cuda")


def test_a_model_made_by_hand_can_be_told(tmp_path: Path) -> None:
    model = untrained(AnsweringConfig(head="linear"), ("yes", "no"))
    assert repr(model) == "Predictor(by hand after 7 steps: answer)"
