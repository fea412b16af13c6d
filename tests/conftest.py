"""What tests share: one thread per worker, Triton interpreted where there is no GPU, a world."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from interpreted_once import patch_once
from PIL import Image

pytest_plugins = ["micro_runs"]

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
HAS_GPU = torch.cuda.is_available()
if not HAS_GPU:
    # Triton reads it at import, so this line must run before any test module does.
    os.environ.setdefault("TRITON_INTERPRET", "1")
    if find_spec("triton") is not None:
        patch_once()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `make test-all`."""
    told = "run the tests marked so too: they repeat, for every case, what others do for a sample"
    parser.addoption("--exhaustive", action="store_true", help=told)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is exhaustive, if not asked for; skip what needs a GPU that is not there."""
    if not config.getoption("--exhaustive"):
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
    keep_groups(items)
    if HAS_GPU:
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def keep_groups(items: list[pytest.Item]) -> None:
    """Name groups in the tests' ids, from where pytest-xdist deals them out to its processes.

    Version 3.8.0 writes such an id to an attribute that pytest 9.2 reads no more: without this,
    both processes build what tests of one group share.
    """
    for item in items:
        named = vars(item).get("_nodeid")
        if named is not None and named != item.nodeid:
            item._id = type(item._id).parse(named)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What is drawn without a generator is the same in every run and any order of tests."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def pillow() -> Iterator[None]:
    """What a test imports stays in nobody's way: Ultralytics replaces Pillow's `open`."""
    opened, most = Image.open, Image.MAX_IMAGE_PIXELS
    yield
    Image.open, Image.MAX_IMAGE_PIXELS = opened, most


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real annotations and photographs beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data sample beside the checkout, ../shared/data")
    return SHARED.resolve()


Once = Callable[[str, Callable[[Path], object]], Path]


class Answer(NamedTuple):
    """What a command of vlp-fast left behind."""

    code: int
    out: str
    err: str

    def assert_refused(self, *named: object) -> None:
        """One line on stderr that names what is wrong; nothing else."""
        assert (self.code, self.out) == (2, "")
        assert self.err.startswith("vlp-fast: ")
        assert self.err.count("\n") == 1, self.err
        for name in named:
            assert str(name) in self.err


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """call(*words) runs a command in this process."""
    from vlp_fast.cli import main

    def run(*words: object) -> Answer:
        try:
            code = main([str(word) for word in words])
        except SystemExit as exit_:
            assert isinstance(exit_.code, int)
            code = exit_.code
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """once(name, fill): a folder that one process of pytest fills for all; to be read only.

    A name belongs to one file: two that fill a folder of one name have each other's otherwise.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    shared.mkdir(exist_ok=True)

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        path, filled = shared / name, shared / f"{name}.filled"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for the process that fills it
            if not filled.exists():
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir()
                fill(path)
                filled.write_text(fill.__code__.co_filename)
        owner = filled.read_text()
        assert owner == fill.__code__.co_filename, f"once({name!r}) is {owner}'s; choose another"
        return path

    return folder


@pytest.fixture(scope="session")
def small_world(once: Once) -> Path:
    """A drawn world of 60 small pictures: 54 for training, 3 each for validation and test."""
    from vlp_fast.data.world.bounds import Bounds
    from vlp_fast.data.world.layouts import make_world

    bounds = Bounds(sizes=((64, 64), (96, 64), (64, 80)))
    draw = lambda folder: make_world(folder / "world", images=60, seed=3, bounds=bounds)
    return once("small", draw) / "world"


@pytest.fixture(scope="session")
def small_drawings(once: Once) -> Path:
    """A world of 40 drawings as the models that come with the package have learnt them."""
    from vlp_fast.data.world.bounds import SMALL
    from vlp_fast.data.world.layouts import make_world

    draw = lambda folder: make_world(folder / "world", images=40, seed=77, bounds=SMALL)
    return once("small-drawings", draw) / "world"


@pytest.fixture
def copied_world(small_world: Path, tmp_path: Path) -> Path:
    """The world's annotations, to be changed or damaged, with its pictures."""
    root = tmp_path / "elsewhere" / "world"
    shutil.copytree(small_world, root, ignore=shutil.ignore_patterns("images"))
    (root / "images").symlink_to(small_world / "images")
    return root
