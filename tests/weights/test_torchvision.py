"""ResNets of torchvision and of Hugging Face give the maps that they give at home."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from tiny_soho import PAPER
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from vlp_fast.errors import InputError
from vlp_fast.models.config import BackboneConfig, E2EVLPConfig, ModelConfig
from vlp_fast.weights.load import load_weights
from vlp_fast.weights.published import PUBLISHED, check_weights_file

E2E = E2EVLPConfig(
    width=16, num_heads=2, head_dim=8, ffn_dim=8, encoder_layers=1, decoder_layers=1, vocab_size=9
)


def of_depth(depth: int, config: ModelConfig = PAPER) -> ModelConfig:
    return replace(config, backbone=BackboneConfig(depth=depth, norm="batch"))


def shaken(model: nn.Module) -> nn.Module:
    """Every tensor random, statistics too: names that change places are seen."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator) * 0.5 + 0.75
            value.mul_(noise) if name.endswith("weight") else value.add_(noise)
    return model.eval()


def maps(resnet: nn.Module, images: Tensor) -> Tensor:
    layers = list(resnet.children())[:-2]
    return nn.Sequential(*layers)(images)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_key_sets(depth: int, norm: str) -> None:
    """All of torchvision's but the classifier has a place, and ours has nothing else."""
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None).state_dict()
        config = BackboneConfig(depth=depth, norm=norm)
        ours = replace(PAPER, backbone=config).build().backbone.state_dict()
    of_norm = {n for n in theirs if norm == "frozen" and n.endswith("num_batches_tracked")}
    assert {n: v.shape for n, v in ours.items()} == {
        n: v.shape for n, v in theirs.items() if n not in {"fc.weight", "fc.bias"} | of_norm
    }


@pytest.mark.parametrize(("depth", "config"), [(18, PAPER), (50, E2E)], ids=["soho", "e2e_vlp"])
def test_outputs_are_torchvision_s(tmp_path: Path, depth: int, config: ModelConfig) -> None:
    theirs = shaken(getattr(torchvision.models, f"resnet{depth}")(weights=None))
    torch.save(theirs.state_dict(), tmp_path / "resnet.pth")
    model = of_depth(depth, config).build().eval()
    loaded = load_weights(model, tmp_path / "resnet.pth")
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = maps(theirs, images)
        torch.testing.assert_close(model.backbone(images), expected, rtol=1e-4, atol=1e-5)
    assert loaded.left == ("fc.weight", "fc.bias")
    assert not any(name.startswith("backbone") for name in loaded.new)
    assert "is a torchvision ResNet" in str(loaded) and "2 left in the file (fc." in str(loaded)


@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
def test_hugging_face_s_resnet(tmp_path: Path, layer_type: str) -> None:
    widths = (8, 16, 24, 32)
    wider = 4 if layer_type == "bottleneck" else 1
    theirs = shaken(
        ResNetModel(
            ResNetConfig(
                embedding_size=8,
                hidden_sizes=[width * wider for width in widths],
                depths=[1, 2, 1, 2],
                layer_type=layer_type,
            )
        )
    )
    state = {f"resnet.{name}": value for name, value in theirs.state_dict().items()}
    save_file({**state, "classifier.1.weight": torch.ones(2, 2)}, tmp_path / "w.safetensors")
    backbone = BackboneConfig(
        depth=None, block=layer_type, blocks=(1, 2, 1, 2), widths=widths, norm="batch"
    )
    model = replace(PAPER, backbone=backbone).build().eval()
    loaded = load_weights(model, tmp_path / "w.safetensors")
    assert loaded.left == ("classifier.1.weight",)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        torch.testing.assert_close(model.backbone(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
def test_names_as_training_wraps_them(tmp_path: Path, prefix: str, wrapper: str) -> None:
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    state = {f"{prefix}{name}": value for name, value in theirs.items()}
    torch.save({wrapper: state, "epoch": 90} if wrapper else state, tmp_path / "w.pth")
    model = of_depth(18).build()
    load_weights(model, tmp_path / "w.pth")
    assert torch.equal(model.backbone.layer4[1].conv2.weight, theirs["layer4.1.conv2.weight"])


def test_another_depth_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    model = of_depth(34).build()
    with torch.device("meta"):
        others = {depth: of_depth(depth).build() for depth in (18, 50)}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    said = r"another size: \d+ tensors differ, the first is backbone\.layer1\.2\.bn1\.bias: none"
    with pytest.raises(InputError, match=rf"{said} there, \(64,\) here$"):
        load_weights(model, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"layer1\.0\.bn3\.bias: none there, \(256,\) here"):
        load_weights(others[50], tmp_path / "w.pth")
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"the first is layer1\.2\.bn1\.bias: \(64,\) there, none"):
        load_weights(others[18], tmp_path / "w.pth")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_cnn_that_lacks_a_whole_stage_is_another(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    some = {name: value for name, value in theirs.items() if not name.startswith("layer4")}
    torch.save(some, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"another size: 25 tensors differ.*layer4"):
        load_weights(of_depth(18).build(), tmp_path / "w.pth")


def test_files_are_those_that_torchvision_publishes() -> None:
    """Name by name: the digits in a file's name are those that torchvision checks it by."""
    theirs = [entry for entry in PUBLISHED if entry.source.startswith("torchvision")]
    assert len(theirs) == 8
    for entry in theirs:
        name, version = entry.source.removeprefix("torchvision.models.").split(".")
        url = getattr(getattr(torchvision.models, name), version).url
        assert url.endswith(f"/{entry.file}")
        assert len(entry.checksum) == 8 and entry.file.endswith(f"-{entry.checksum}.pth")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet50-0676ba61.pth", r"ResNet50_Weights\.IMAGENET1K_V1; its SHA-256 begins with 0676"),
        ("resnet50.pth", r", as resnet50-\w+\.pth from torchvision\.models\.ResNet50_Weights\."),
        ("detr-r50.pth", r"as detr-r50-e632da11\.pth from .*; its SHA-256 begins with e632da11$"),
        ("bert-base-uncased", r"from huggingface\.co/google-bert/bert-base-uncased$"),
        ("mine.pth", r"takes a run folder or a state dict \(\.pth, \.safetensors\)$"),
    ],
)
def test_a_missing_file_says_where_people_get_it(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"no such file; --init.*{said}"):
        check_weights_file(tmp_path / name, "--init")
    with pytest.raises(InputError, match=rf"no such file; --init.*{said}"):
        load_weights(PAPER.build(), tmp_path / name, option="--init")


def test_a_missing_run_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no such file; --init takes a run folder .*train soho_x`"
    ):
        check_weights_file(tmp_path / "runs/soho_x", "--init")
