"""The doctor: each thing that can be wrong is found, coloured and comes with its repair."""

import importlib
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vlp_fast import doctor, native
from vlp_fast.native import Native
from vlp_fast.ops import registry

BUILD_INFO: dict[str, Any] = {
    "compiler": "gcc 1.2",
    "cuda": None,
    "cuda_archs": [],
    "cuda_note": "no nvcc found",
}


def lines() -> dict[str, doctor.Line]:
    return {line.name: line for line in doctor.report()}


def pretend_native(monkeypatch: pytest.MonkeyPatch, answer: Native) -> None:
    monkeypatch.setattr(native, "load", lambda: answer)


def pretend_import_fails(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    real = importlib.import_module

    def fail(module: str) -> object:
        if module == name:
            raise error
        return real(module)

    monkeypatch.setattr(doctor, "import_module", fail)


def pretend_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    major, minor = capability
    properties = SimpleNamespace(name="Some GPU", major=major, minor=minor, total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90a", "compute_120"])


def test_this_environment_has_no_red_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main() == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert torch.__version__ in printed
    assert native.summary() in printed


def test_every_operator_has_its_backend_and_reason_on_the_cpu() -> None:
    found = lines()
    assert "attention" in registry.operators()
    for operator in registry.operators():
        backend, reason = registry.backend_for(operator, "cpu")
        assert found[f"{operator} on cpu"].text == f"{backend}: {reason}"


def test_operators_without_a_backend_on_a_device_are_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.operators()["attention"], "backends", {})
    line = lines()["attention on cpu"]
    assert line.status == "red"
    assert doctor.main() == 1


def test_native_code_that_is_not_built_is_yellow(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_native(monkeypatch, Native(None, "not built"))
    line = lines()["vlp_fast._C"]
    assert (line.status, line.text) == ("yellow", "not built")
    assert line.repair.startswith("pip install -e .")
    assert doctor.main() == 0


def test_without_a_compiler_the_repair_begins_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_native(monkeypatch, Native(None, "not built"))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert lines()["vlp_fast._C"].repair.startswith("install a C++17 compiler, then pip install")


def test_native_code_that_does_not_load_is_red(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_native(monkeypatch, Native(None, "built, but does not load: bad ELF", is_broken=True))
    assert doctor.main() == 1
    assert "!!  vlp_fast._C" in capsys.readouterr().out


def test_a_gpu_without_cuda_kernels_is_yellow(monkeypatch: pytest.MonkeyPatch) -> None:
    extension: Any = SimpleNamespace(build_info=lambda: BUILD_INFO)
    pretend_native(monkeypatch, Native(extension))
    pretend_no_gpu(monkeypatch)
    assert lines()["vlp_fast._C"].status == "green"
    assert lines()["gpu"].status == "yellow"
    pretend_gpus(monkeypatch, (9, 0))
    found = lines()
    assert found["vlp_fast._C"].status == "yellow"
    assert "no nvcc found" in found["vlp_fast._C"].text
    assert "CUDA toolkit" in found["vlp_fast._C"].repair
    assert found["cuda:0"].text == "Some GPU, capability 9.0, 80 GiB"
    assert "attention on cuda:0" in found


@pytest.mark.parametrize("problem", ["", "no kernel image is available"])
def test_a_binary_without_code_for_the_gpu_is_red(
    monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    def probe(tensor: torch.Tensor) -> None:
        if problem:
            raise RuntimeError(f"device_probe: {problem}")

    info = {**BUILD_INFO, "cuda": "13.0", "cuda_archs": ["sm_80", "compute_80"]}
    extension: Any = SimpleNamespace(build_info=lambda: info, device_probe=probe)
    pretend_native(monkeypatch, Native(extension))
    pretend_gpus(monkeypatch, (7, 5))
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    line = lines()["vlp_fast._C on cuda:0"]
    assert line.status == ("red" if problem else "green")
    assert problem in line.text
    assert doctor.main() == (1 if problem else 0)


def test_torch_that_does_not_import_is_red_and_the_rest_is_still_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_import_fails(monkeypatch, "torch", OSError("libcudart.so.13: not found\nmore"))
    found = lines()
    assert found["torch"].status == "red"
    assert found["torch"].text == "libcudart.so.13: not found"
    assert "vlp_fast._C" in found
    assert not any(" on cpu" in name for name in found)


@pytest.mark.parametrize(("version", "status"), [("2.10.1+cu128", "red"), ("2.11.0", "green")])
def test_old_torch_is_red(monkeypatch: pytest.MonkeyPatch, version: str, status: str) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    assert lines()["torch"].status == status


@pytest.mark.parametrize(
    ("module", "error", "status", "repair"),
    [
        ("matplotlib", ModuleNotFoundError("none"), "yellow", "pip install -e '.[viz]'"),
        ("triton", ModuleNotFoundError("none"), "yellow", "pip install triton"),
        ("matplotlib", ImportError("bad"), "red", "pip install --force-reinstall matplotlib"),
        ("torchvision", RuntimeError("nms"), "red", "pip install --force-reinstall torchvision"),
    ],
)
def test_missing_is_yellow_and_broken_is_red(
    monkeypatch: pytest.MonkeyPatch, module: str, error: Exception, status: str, repair: str
) -> None:
    pretend_import_fails(monkeypatch, module, error)
    line = lines()[module]
    assert (line.status, line.repair) == (status, repair)


def test_brackets_survive_printing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An extra such as [viz] looks like markup to rich."""
    pretend_import_fails(monkeypatch, "matplotlib", ModuleNotFoundError("none"))
    doctor.main()
    assert "pip install -e '.[viz]'" in capsys.readouterr().out


def test_importing_the_doctor_imports_nothing_heavy() -> None:
    code = "import sys, vlp_fast.doctor; assert not {'torch', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_rich_the_report_is_printed_plainly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("rich", "rich.console", "rich.text"):
        monkeypatch.setitem(sys.modules, module, None)
    assert doctor.main() == 1
    printed = capsys.readouterr().out
    assert re.search(r"^!!  rich .*import of rich halted", printed, re.M)
    assert re.search(r"^ +pip install --force-reinstall rich$", printed, re.M)
    assert re.search(rf"^ok  torch .*{re.escape(torch.__version__)}", printed, re.M)


def test_a_missing_package_under_the_operators_is_red_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_import_fails(monkeypatch, "scipy", ImportError("no scipy here"))
    assert (lines()["scipy"].status, lines()["scipy"].text) == ("red", "no scipy here")
    pretend_import_fails(monkeypatch, "vlp_fast.ops", ImportError("no scipy here"))
    assert lines()["operators"].status == "red"


@pytest.mark.parametrize(
    ("capability", "status"),
    [((7, 0), "red"), ((7, 5), "green"), ((8, 9), "red"), ((9, 0), "green"), ((12, 1), "green")],
)
def test_a_torch_without_code_for_the_gpu_is_red(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], status: str
) -> None:
    pretend_gpus(monkeypatch, capability)
    line = lines()["cuda:0"]
    assert line.status == status
    assert ("no code for it" in line.text) == (status == "red")


@pytest.mark.parametrize(
    ("build", "capability", "status"),
    [
        ("nvidia-dali-cuda130", (7, 0), "red"),
        ("nvidia-dali-cuda130", (9, 0), "green"),
        ("nvidia-dali-cuda120", (7, 0), "green"),
    ],
)
def test_a_dali_without_code_for_the_gpu_is_red(
    monkeypatch: pytest.MonkeyPatch, build: str, capability: tuple[int, int], status: str
) -> None:
    pretend_gpus(monkeypatch, capability)
    here = {build: "2.4.0", "nvidia-nvimgcodec-cu12": "0.9.0"}
    known = lambda names: next(((n, here[n]) for n in names if n in here), None)
    monkeypatch.setattr(doctor, "installed", known)
    monkeypatch.setitem(sys.modules, "nvidia.dali", SimpleNamespace())
    line = lines()["nvidia.dali"]
    assert line.status == status
    assert line.text.startswith(f"2.4.0 ({build}), nvImageCodec 0.9.0")
    assert ("[dali-cu12]" in line.repair) == (status == "red")


def test_without_dali_the_line_is_yellow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda names: None)
    line = lines()["nvidia.dali"]
    assert (line.status, line.repair) == ("yellow", "pip install -e '.[dali]'")


def test_a_dali_that_does_not_import_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda names: ("nvidia-dali-cuda130", "2.4.0"))
    pretend_import_fails(monkeypatch, "nvidia.dali", ImportError("libnvjpeg.so"))
    line = lines()["nvidia.dali"]
    assert (line.status, line.text) == ("red", "libnvjpeg.so")
