"""A CNN starts from the files that people have, and says in one line what it cannot start from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vlp_fast.engine.backbone_weights import load_backbone
from vlp_fast.errors import InputError


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_backbone_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    source, target = nn.Sequential(nn.Conv2d(2, 3, 1)), nn.Sequential(nn.Conv2d(2, 3, 1))
    state = {**source.state_dict(), "fc.weight": torch.ones(2)}
    path = tmp_path / f"resnet{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    load_backbone(path, target)
    assert torch.equal(target[0].weight, source[0].weight)
    with pytest.raises(InputError, match=r"2 tensors differ, the first is 1\.bias"):
        load_backbone(path, nn.Sequential(nn.Conv2d(2, 3, 1), nn.Linear(1, 1)))
    with pytest.raises(InputError, match=r"2 tensors differ, the first is 0\.bias"):
        load_backbone(path, nn.Sequential())  # a deeper network's weights
    with pytest.raises(InputError, match="no such file"):
        load_backbone(tmp_path / "absent.pth", target)
    path.write_bytes(b"junk")
    with pytest.raises(InputError, match="not a readable state dict"):
        load_backbone(path, target)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_state_dict_beside_other_things(tmp_path: Path, key: str) -> None:
    source, target = nn.Sequential(nn.Conv2d(2, 3, 1)), nn.Sequential(nn.Conv2d(2, 3, 1))
    torch.save({key: source.state_dict(), "epoch": 90}, tmp_path / "r.pth")
    load_backbone(tmp_path / "r.pth", target)
    assert torch.equal(target[0].weight, source[0].weight)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_names_as_training_wraps_them(tmp_path: Path, prefix: str, suffix: str) -> None:
    from safetensors.torch import save_file

    source, target = nn.Sequential(nn.Conv2d(2, 3, 1)), nn.Sequential(nn.Conv2d(2, 3, 1))
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    state |= {f"{prefix}fc.weight": torch.ones(2)}
    path = tmp_path / f"r{suffix}"
    (torch.save if suffix == ".pth" else save_file)(state, path)
    load_backbone(path, target)
    assert torch.equal(target[0].weight, source[0].weight)


def test_why_a_file_cannot_be_opened_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    target = nn.Sequential(nn.Conv2d(2, 3, 1))
    with pytest.raises(InputError, match=r"is a folder, not a file; --train\.backbone-weights"):
        load_backbone(tmp_path, target)
    with pytest.raises(InputError, match="File name too long; --train"):
        load_backbone(tmp_path / ("a" * 300), target)

    def refused(path: object, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.open", refused)  # root may read anything
    with pytest.raises(InputError, match="Permission denied; --train"):
        load_backbone(tmp_path / "r.pth", target)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.ones(2)], "holds a list, expected a state dict"),
        (torch.ones(2), "holds a Tensor, expected a state dict"),
        ({0: torch.ones(2)}, "holds a Tensor under 0, expected a state dict"),
        ({"epoch": 90}, "holds a int under 'epoch'"),
        ({"state_dict": [1]}, "holds a list under 'state_dict'"),
        ({"model": {1: torch.ones(2)}}, "holds a Tensor under 1"),
    ],
)
def test_what_is_no_state_dict_is_an_input_error(tmp_path: Path, content: Any, said: str) -> None:
    torch.save(content, tmp_path / "r.pth")
    with pytest.raises(InputError, match=said):
        load_backbone(tmp_path / "r.pth", nn.Sequential(nn.Conv2d(2, 3, 1)))


def test_counters_of_another_shape_are_left_out(tmp_path: Path) -> None:
    source, target = nn.Sequential(nn.BatchNorm2d(2)), nn.Sequential(nn.BatchNorm2d(2))
    state = source.state_dict() | {"0.num_batches_tracked": torch.ones(3)}
    torch.save(state, tmp_path / "r.pth")
    load_backbone(tmp_path / "r.pth", target)
    assert target[0].num_batches_tracked.shape == ()
