"""Named models, random or from a file."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from tiny_e2e_vlp import TINY
from tiny_soho import PAPER

import vlp_fast
from vlp_fast.models import config
from vlp_fast.models.config import BackboneConfig


@pytest.fixture(autouse=True)
def presets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config._PRESETS, "tiny", TINY)
    monkeypatch.setitem(config._PRESETS, "wider", replace(TINY, width=20))
    backbone = BackboneConfig(depth=18, norm="batch")
    monkeypatch.setitem(config._PRESETS, "tiny_r18", replace(PAPER, backbone=backbone))


def test_weights_of_a_whole_model_are_loaded_in_silence(tmp_path: Path) -> None:
    source = TINY.build()
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = vlp_fast.create_model("tiny", pretrained=path)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_false_is_random_too() -> None:
    """As other libraries of models have it."""
    torch.manual_seed(0)
    first = vlp_fast.create_model("tiny").state_dict()
    torch.manual_seed(0)
    second = vlp_fast.create_model("tiny", pretrained=False).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_what_stays_random_is_said(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(theirs, tmp_path / "w.pth")
    with pytest.warns(UserWarning, match=r"is a torchvision ResNet: 12\d tensors .* new here \(ma"):
        model = vlp_fast.create_model("tiny_r18", pretrained=str(tmp_path / "w.pth"))
    assert torch.equal(model.backbone.conv1.weight, theirs["conv1.weight"])


def test_what_cannot_be_loaded_is_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(TINY.build().state_dict(), path)
    with pytest.raises(ValueError, match=r"create_model: .*is our own of another size"):
        vlp_fast.create_model("wider", pretrained=path)
    with pytest.raises(ValueError, match=r"create_model: .*no such file; pretrained takes"):
        vlp_fast.create_model("tiny", pretrained=tmp_path / "missing.safetensors")
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"create_model: .*not a readable state dict"):
        vlp_fast.create_model("tiny", pretrained=path)
    with pytest.raises(ValueError, match=r"received 'e2e_vlp_r51_6'.*e2e_vlp_r50_6"):
        vlp_fast.create_model("e2e_vlp_r51_6")
