"""Files of tensors: what is read of them, what is refused in one line, and that no code is run."""

import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_soho import PAPER

from vlp_fast.errors import InputError
from vlp_fast.weights.load import load_weights
from vlp_fast.weights.state_file import read_state_file


class Runs:
    """Makes a file, when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.witness),)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        load_weights(PAPER.build(), path)
    line = str(refused.value)
    assert "\n" not in line and str(path) in line
    return line


@pytest.mark.parametrize("is_legacy", [False, True])
def test_code_in_a_file_is_not_run(tmp_path: Path, is_legacy: bool) -> None:
    witness = tmp_path / "run"
    state = {"conv1.weight": torch.ones(2), "epoch": Runs(witness)}
    path = tmp_path / "resnet.pth"
    torch.save(state, path, _use_new_zipfile_serialization=not is_legacy)
    line = refusal(path)
    assert "holds code, " in line and "mkdir, which is not run" in line
    assert not witness.exists()
    torch.load(path, weights_only=False)  # the file is what it is taken for
    assert witness.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated"])
def test_damaged_files_are_one_line(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"w{suffix}"
    (torch.save if suffix == ".pth" else save_file)({"conv1.weight": torch.ones(9999)}, path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"no tensors\n", "truncated": whole[:-99]}[damage])
    assert "not a readable state dict" in refusal(path)


def test_a_header_that_claims_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    assert "not a readable state dict" in refusal(path)


def test_files_of_before_torch_1_6(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert read_state_file(tmp_path / "a.pth").tensors["a"].tolist() == [1, 1]


def test_a_shape_is_compared_before_memory_is_taken(tmp_path: Path) -> None:
    """10 ** 14 numbers that the file has one of: reading them would end the process."""
    names = PAPER.build().state_dict()
    huge = {n: torch.ones(1).expand(10**7, 10**7) if v.dim() == 2 else v for n, v in names.items()}
    torch.save(huge, tmp_path / "w.pth")
    assert "(10000000, 10000000) there, (24, 32) here" in refusal(tmp_path / "w.pth")


def test_joined_thirds_are_compared_before_memory_is_taken(tmp_path: Path) -> None:
    huge = torch.ones(1).expand(10**7, 10**7)
    layer = "encoder.layer.0.attention.self"
    state = {f"{layer}.{part}.weight": huge for part in ("query", "key", "value")}
    state |= {"embeddings.word_embeddings.weight": torch.ones(50, 32)}
    torch.save(state, tmp_path / "bert.pth")
    assert "the first is " in refusal(tmp_path / "bert.pth")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "value",
    [
        torch.eye(3).to_sparse(),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        torch.empty(3, device="meta"),
    ],
)
def test_tensors_of_other_kinds_are_refused(tmp_path: Path, value: torch.Tensor) -> None:
    torch.save({"conv1.weight": value}, tmp_path / "w.pth")
    assert "conv1.weight is quantised, sparse or without values" in refusal(tmp_path / "w.pth")


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    state = PAPER.build().state_dict()
    state["norm.weight"] = torch.ones(32, dtype=torch.int8)
    torch.save(state, tmp_path / "w.pth")
    assert "norm.weight: (32,) of int8 there, (32,) here" in refusal(tmp_path / "w.pth")


def test_names_of_nothing_known(tmp_path: Path) -> None:
    torch.save({"stem.conv1.norm\x1b": torch.ones(2)}, tmp_path / "w.pth")
    assert r"begins with stem.conv1.norm\x1b and is of no known layout" in refusal(
        tmp_path / "w.pth"
    )
    torch.save({}, tmp_path / "w.pth")
    assert "holds no tensor and is of no known layout" in refusal(tmp_path / "w.pth")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    assert "is a folder without weights" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty; download"),
        (b"<html>\nNot found", r'it is text that begins with "<html>\nNot found"; give a file'),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"\x80\x02\x00\xff" * 500, "damaged or of another format"),
    ],
)
def test_a_file_that_is_something_else_says_what_it_is(
    tmp_path: Path, content: bytes, said: str, suffix: str
) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    told = refusal(path)
    assert said in told
    assert told.isprintable()


def refused_tensor(folder: Path, name: str, value: torch.Tensor) -> str:
    path = folder / "w.pth"
    torch.save(PAPER.build().state_dict() | {name: value}, path)
    model = PAPER.build()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    with pytest.raises(InputError) as refused:
        load_weights(model, path)
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())
    return str(refused.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    """The last is one in float64, and none in a model of float32."""
    bias = torch.zeros(32, dtype=torch.float64)
    bias[7] = value
    told = refused_tensor(tmp_path, "norm.bias", bias)
    assert "norm.bias holds values that are NaN or infinite" in told


def test_values_of_what_is_left_may_be_anything(tmp_path: Path) -> None:
    state = PAPER.build().state_dict() | {"heads.bias": torch.full((3,), float("nan"))}
    torch.save(state, tmp_path / "w.pth")
    assert load_weights(PAPER.build(), tmp_path / "w.pth").left == ("heads.bias",)


@pytest.mark.parametrize("names", [("norm.bias", "module.norm.bias"), ("module.a", "_orig_mod.a")])
def test_one_name_twice_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    """As in a file that two trainings have written to: the last one would count in silence."""
    torch.save(dict.fromkeys(names, torch.ones(32)), tmp_path / "w.pth")
    bare = names[0].removeprefix("module.")
    assert f"holds {bare} twice, with and without what training puts in front" in refusal(
        tmp_path / "w.pth"
    )


def test_what_a_file_is_is_told_by_its_content(tmp_path: Path) -> None:
    """Whatever it was called when it was saved."""
    state = PAPER.build().state_dict()
    save_file(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.safetensors")
    torch.save(state, tmp_path / "c.bin", _use_new_zipfile_serialization=False)
    for name in ("a.pth", "b.safetensors", "c.bin"):
        found = read_state_file(tmp_path / name).tensors
        assert found.keys() == state.keys()
        assert torch.equal(found["norm.weight"], state["norm.weight"])


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pth")
    assert "is a device or a pipe; pretrained takes" in refusal(tmp_path / "w.pth")


def test_names_without_end_are_shown_in_part(tmp_path: Path) -> None:
    for state in ({"x" * 10**5: torch.ones(2)}, {"x" * 10**5: torch.eye(3).to_sparse()}):
        torch.save(state, tmp_path / "w.pth")
        assert len(refusal(tmp_path / "w.pth")) < 500 + len(str(tmp_path))
