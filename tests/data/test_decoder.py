"""Which decoder a run's pictures go through, and what is said of it."""

from pathlib import Path

import pytest
import torch

from vlp_fast.data import decoder
from vlp_fast.data.config import DataConfig
from vlp_fast.data.decoder import choose_decoder, described
from vlp_fast.errors import InputError

CPU, GPU = torch.device("cpu"), torch.device("cuda")
AUTO = DataConfig(decoder="auto")


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(decoder, "find_spec", lambda name: object())
    monkeypatch.setattr(decoder, "installed", lambda names: ("nvidia-dali-cuda130", "2.4.0"))


@pytest.mark.parametrize(
    ("cores", "chosen"), [(1, "dali"), (2, "torchvision"), (64, "torchvision")]
)
def test_auto_is_dali_where_a_gpu_has_few_cores(
    one_gpu: None, monkeypatch: pytest.MonkeyPatch, cores: int, chosen: str
) -> None:
    monkeypatch.setattr(decoder, "cores", lambda: cores)
    assert choose_decoder(AUTO, GPU) == chosen
    assert choose_decoder(AUTO, CPU) == "torchvision"
    assert choose_decoder(DataConfig(decoder="auto", cache=True), GPU) == "torchvision"


def test_auto_is_torchvision_where_dali_is_not_installed(
    one_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "cores", lambda: 1)
    monkeypatch.setattr(decoder, "find_spec", lambda name: None)
    assert choose_decoder(AUTO, GPU) == "torchvision"


def test_auto_is_torchvision_where_dali_has_no_code_for_the_gpu(
    one_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "cores", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    assert choose_decoder(AUTO, GPU) == "torchvision"
    monkeypatch.setattr(decoder, "installed", lambda names: ("nvidia-dali-cuda120", "2.4.0"))
    assert choose_decoder(AUTO, GPU) == "dali"


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "installed", lambda names: (names[0], "2.4.0"))
    for asked in ("torchvision", "dali"):
        assert choose_decoder(DataConfig(decoder=asked, root=Path("x")), CPU) == asked  # type: ignore[arg-type]


def test_the_cache_is_of_no_use_to_dali() -> None:
    with pytest.raises(ValueError, match=r"cache = True with decoder = 'dali'.*data.no-cache"):
        DataConfig(decoder="dali", cache=True)


def test_a_decoder_is_described_by_version_and_place() -> None:
    assert described("torchvision", CPU).startswith("torchvision 0.")
    assert described("dali", GPU).startswith("DALI ")
    assert " on cuda, bilinear" in described("dali", GPU)


def test_dali_that_is_not_installed_is_told_before_data_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder, "installed", lambda names: None)
    with pytest.raises(InputError, match=r"--data\.decoder dali: DALI is not installed"):
        choose_decoder(DataConfig(decoder="dali"), CPU)
