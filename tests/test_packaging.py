"""The package as others get it: sdist, wheel, editable, with and without working compilers.

Each build runs in an environment that holds what `build-system.requires` asks for and nothing else
(in particular no torch), prepared once. Each result is imported in a fresh environment that sees
this one's libraries, but not this checkout.
"""

import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from vlp_fast import native

ROOT = Path(__file__).parents[1]
NOT_SOURCE = shutil.ignore_patterns(
    ".*", "build", "dist", "runs", "*.egg-info", "*.so", "__pycache__"
)
MAPPED = [path for room in ("kernels", "benchmarks") for path in ROOT.glob(f"{room}/**/*.py")]
BROKEN_NVCC = {"CUDACXX": "/bin/false"}
NO_CUDA = {"VLP_FAST_CUDA": "0"}
NO_COMPILER = {**NO_CUDA, "CXX": "/bin/false"}
HAS_COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("packaging"),
    pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler"),
]


def run(*command: str | Path, **environment: str) -> str:
    """Run a command and return what it printed; its failure shows that too."""
    left_out = ("CXX", "CUDACXX", "PYTHONPATH", "PYTEST_XDIST_WORKER")
    kept = {k: v for k, v in os.environ.items() if k not in left_out}
    done = subprocess.run(
        [str(word) for word in command],
        env={**kept, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=kept.get("TMPDIR", "/"),
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout)
    return done.stdout


def environment(folder: Path) -> Path:
    """Create an empty environment and return its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def pip(python: Path, *arguments: str | Path, **settings: str) -> str:
    """Run this environment's pip for another one."""
    return run(sys.executable, "-m", "pip", "--python", python, *arguments, **settings)


def lines_of_ours(output: str) -> list[str]:
    return [line.strip() for line in output.splitlines() if line.strip().startswith("vlp_fast: ")]


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the build requirements and no torch."""
    python = environment(tmp_path_factory.mktemp("builder") / "env")
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    pip(python, "install", "-q", *requires)
    return python


@pytest.fixture(scope="module")
def sdist(builder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of this checkout, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "checkout", ignore=NOT_SOURCE)
    code = (
        "import os, sys; from setuptools import build_meta; os.chdir(sys.argv[1]);"
        "build_meta.build_sdist(sys.argv[2])"
    )
    run(builder, "-c", code, folder / "checkout", folder)
    (archive,) = folder.glob("vlp_fast-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


def build_wheel(builder: Path, source: Path, out: Path, **settings: str) -> tuple[Path, str]:
    """Build a wheel from a copy of a source tree; return it and what was printed.

    The builds differ in what they are told about CUDA: most C++ files are compiled once for all.
    """
    copy = shutil.copytree(source, out / "source")
    objects = builder.parents[2] / "objects"
    objects.mkdir(exist_ok=True)
    launcher = (sys.executable, str(ROOT / "tests/compile_once.py"), str(objects))
    settings = {"CMAKE_CXX_COMPILER_LAUNCHER": ";".join(launcher), **settings}
    options = ("--no-build-isolation", "--no-deps", "-v", "-w", out)
    printed = pip(builder, "wheel", *options, copy, **settings)
    (wheel,) = out.glob("*.whl")
    return wheel, printed


@pytest.fixture(scope="module")
def wheel(builder: Path, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel without CUDA, built from the sdist."""
    return build_wheel(builder, sdist, tmp_path_factory.mktemp("wheel"), **NO_CUDA)[0]


def user(folder: Path) -> Path:
    """Python of a fresh environment that sees this one's libraries, but not this checkout."""
    python = environment(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    # Its folder is searched, but the .pth files in there (editable installs) are not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_sdist_holds_everything_a_build_and_its_tests_need(sdist: Path) -> None:
    sources = [
        ROOT / "CMakeLists.txt",
        ROOT / "setup.py",
        ROOT / "LICENSE",
        ROOT / "constraints.txt",
    ]
    for folder in ("csrc", "kernels", "benchmarks", "vlp_fast", "tests"):
        sources += [path for path in ROOT.glob(f"{folder}/**/*") if path.is_file()]
    missing = [
        path.relative_to(ROOT)
        for path in sources
        if path.suffix not in (".so", ".pyc") and not (sdist / path.relative_to(ROOT)).exists()
    ]
    assert not missing


def test_wheel_holds_the_whole_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = [
        path
        for path in ROOT.glob("vlp_fast/**/*")
        if path.suffix in (".py", ".pyi", ".typed", ".toml")
    ]
    expected = {str(path.relative_to(ROOT)) for path in [*sources, ROOT / "vlp_fast/py.typed"]}
    expected |= {f"vlp_fast/{path.relative_to(ROOT)}" for path in MAPPED}
    trained = ROOT.glob("vlp_fast/inference/models/*/*")
    expected |= {str(path.relative_to(ROOT)) for path in trained}
    expected |= {f"vlp_fast/_C{sysconfig.get_config_var('EXT_SUFFIX')}"}
    installed = {name for name in names if ".dist-info/" not in name}
    assert installed == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_works_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    python = user(tmp_path / "env")
    pip(python, "install", "-q", "--no-deps", "--no-index", wheel)
    code = """
import vlp_fast, vlp_fast._C, vlp_fast.benchmarks, vlp_fast.kernels, torch
from importlib.metadata import version
out, status = torch.empty(1, 2, dtype=torch.int64), torch.empty(1, 1, dtype=torch.int8)
cost = torch.tensor([[[4.0, 1.0, 3.0], [2.0, 0.5, 5.0]]])
vlp_fast._C.assign(cost, None, out, status, False, 1)
is_same = version("vlp-fast") == vlp_fast.__version__
print(out[0].tolist(), vlp_fast._C.build_info()["cuda"], is_same)
for module in (vlp_fast, vlp_fast._C, vlp_fast.benchmarks, vlp_fast.kernels):
    print(module.__file__)
"""
    printed = run(python, "-c", code).split("\n")
    assert printed[0] == "[1, 0] None True"
    assert all(path.startswith(str(tmp_path / "env")) for path in printed[1:5])
    assert (tmp_path / "env" / "bin" / "vlp-fast").exists()
    quick = ("--benchmark", "--benchmark-quick", "-k", "single")
    assert "SciPy" in run(python, "-m", "pytest", "-p", "no:cacheprovider", *quick)


def test_without_a_compiler_the_wheel_is_still_built_and_says_so_once(
    builder: Path, sdist: Path, tmp_path: Path
) -> None:
    wheel, printed = build_wheel(builder, sdist, tmp_path, **NO_COMPILER)
    assert len(lines_of_ours(printed)) == 1
    assert lines_of_ours(printed)[0].startswith("vlp_fast: installed without native code (CMake")
    assert not any(
        "_C" in Path(name).name for name in zipfile.ZipFile(wheel).namelist() if ".so" in name
    )

    python = user(tmp_path / "env")
    pip(python, "install", "-q", "--no-deps", "--no-index", wheel)
    code = "import vlp_fast.kernels; from vlp_fast import native; print(native.summary())"
    assert run(python, "-c", code) == "not built\n"
    code = "import torch, vlp_fast; print(vlp_fast.linear_sum_assignment(torch.eye(2))[1].tolist())"
    assert run(python, "-c", code) == "[1, 0]\n"


def test_a_broken_nvcc_costs_the_cuda_kernels_only(
    builder: Path, sdist: Path, tmp_path: Path
) -> None:
    wheel, printed = build_wheel(builder, sdist, tmp_path, **BROKEN_NVCC)
    (line,) = lines_of_ours(printed)
    assert line.startswith("vlp_fast: built without CUDA kernels (/bin/false is broken")
    assert any(name.endswith(".so") for name in zipfile.ZipFile(wheel).namelist())


def test_an_nvcc_that_answers_but_does_not_compile_is_left_out(
    builder: Path, sdist: Path, tmp_path: Path
) -> None:
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho compute_80\n")
    nvcc.chmod(0o755)
    wheel, printed = build_wheel(builder, sdist, tmp_path, CUDACXX=str(nvcc))
    (line,) = lines_of_ours(printed)
    assert line.startswith("vlp_fast: built without CUDA kernels (CMake found no working")
    assert any(name.endswith(".so") for name in zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize(
    ("known", "visible", "archs"),
    [
        ((50, 60, 70, 75, 80, 86, 87, 89, 90), (), "70-real 75-real 80-real 86-real 89-real 90"),
        ((75, 80, 86, 87, 88, 89, 90, 100, 103, 120), (87,), "87"),
        ((75, 80, 90), (80, 90), "80-real 90"),
        ((75, 80, 90), (80, 100), "75-real 80-real 90"),
        ((140, 150), (), "150"),
    ],
)
def test_architectures_are_the_visible_ones_or_all_that_are_known(
    known: tuple[int, ...], visible: tuple[int, ...], archs: str
) -> None:
    choose = runpy.run_path(str(ROOT / "setup.py"))["choose_archs"]
    assert " ".join(choose(known, visible)) == archs


@pytest.mark.parametrize("nvcc", ["/bin/false", "/nowhere/nvcc"])
def test_cuda_that_is_demanded_and_broken_is_an_error(
    builder: Path, sdist: Path, tmp_path: Path, nvcc: str
) -> None:
    with pytest.raises(RuntimeError) as caught:
        build_wheel(builder, sdist, tmp_path, VLP_FAST_CUDA="1", CUDACXX=nvcc)
    (line,) = set(lines_of_ours(str(caught.value)))
    assert nvcc in line
    assert not list(tmp_path.glob("*.whl"))


def test_editable_maps_folders_and_drops_a_stale_binary(
    builder: Path, sdist: Path, tmp_path: Path
) -> None:
    """An editable install with a broken compiler has no native code, not even an old one."""
    source = shutil.copytree(sdist, tmp_path / "source")
    stale = source / "vlp_fast" / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"
    stale.write_bytes(b"from an earlier build")
    options = ("--no-build-isolation", "--no-deps", "-v", "-e", source)
    printed = pip(builder, "install", *options, **NO_COMPILER)
    assert len(lines_of_ours(printed)) == 1
    assert not stale.exists()
    code = (
        "import vlp_fast.kernels as k, vlp_fast.benchmarks as b; from vlp_fast import native;"
        "print(k.__file__, b.__file__, native.summary(), sep='|')"
    )
    places = [source / room / "__init__.py" for room in ("kernels", "benchmarks")]
    assert run(builder, "-c", code) == f"{places[0]}|{places[1]}|not built\n"


def test_this_checkout_is_installed_with_its_native_code() -> None:
    """What the other tests run on: in a checkout a missing binary would only skip tests."""
    assert native.extension() is not None, native.load().problem
