"""The house rules that a machine can check: who may import whom, what a file may hold."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("kernels", "benchmarks", "vlp_fast")
PYTHON = sorted(path for room in ROOMS for path in ROOT.glob(f"{room}/**/*.py"))
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
NATIVE = sorted(path for path in ROOT.glob("csrc/**/*") if path.suffix in SUFFIXES)
TESTS = sorted(ROOT.glob("tests/**/*.py"))
FOLDERS = [path.parent for path in PYTHON if path.name == "__init__.py"]

# Room -> the rooms it may import from, besides itself and these. Imports point down.
FOR_ALL = ("errors", "checks", "whole_file", "__version__")
MODEL_ROOMS = {"kernels", "reference", "ops", "layers", "models"}
STEP_ROOMS = MODEL_ROOMS | {"native", "data", "metrics", "weights", "tasks"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "checks": set(),
    "dali_build": set(),
    "threads": set(),
    "whole_file": set(),
    "native": {"_C"},
    "kernels": set(),
    "reference": set(),
    "ops": {"kernels", "reference", "native"},
    "layers": {"reference", "ops"},
    "models": {"reference", "ops", "layers"},
    "swaps": {"reference", "ops", "layers"},
    "metrics": set(),
    "data": {"ops", "metrics", "dali_build"},
    "weights": MODEL_ROOMS | {"data"},
    "tasks": MODEL_ROOMS | {"data", "metrics", "weights"},
    "engine": {"layers", "data", "models", "weights", "tasks"},
    "recipes": STEP_ROOMS | {"engine"},
    "inference": STEP_ROOMS | {"engine", "recipes"},
    "demo": {"data", "inference"},
    "viz": STEP_ROOMS | {"engine", "recipes", "inference"},
    "benchmarks": MODEL_ROOMS | {"threads", "data", "tasks", "engine", "recipes"},
    "doctor": {"native", "ops", "dali_build"},
    "cli": STEP_ROOMS
    | {"engine", "recipes", "inference", "demo", "viz", "doctor", "benchmarks", "threads"},
    "__main__": {"cli"},
}
# (room, room it may import from) -> what of it, where that is not everything.
ONLY: dict[tuple[str, str], set[str]] = {
    # How a batch is laid out, not how it is computed; how answers are spelt that are compared.
    ("data", "ops"): {"packing", "boxes"},
    ("data", "metrics"): {"answer_text"},
    # The protocol of a task and of a model's configuration: the engine knows none by name.
    ("engine", "tasks"): {
        "averages",
        "batch_key",
        "config",
        "held_out",
        "inputs",
        "sharing",
        "step",
        "task",
    },
    ("engine", "models"): {"config"},
    # State that a step moves once, and how layers are computed, whichever system has them.
    ("engine", "layers"): {
        *("shard_statistics", "compilation", "recomputation", "gathered_units"),
    },
}
# (room, room it may import from) -> what it leaves to the rooms between: a task reads its data.
EXCEPT: dict[tuple[str, str], set[str]] = {("engine", "data"): {"sources"}}

TORCH_FREE = ("", ".checks", ".errors", ".threads", ".native", ".doctor", ".cli", ".models.config")
TORCH_FREE += (".engine.config", ".benchmarks", ".benchmarks.bench", ".benchmarks.plugin")
TORCH_FREE += (".benchmarks.step", ".benchmarks.step.request", ".benchmarks.step.cases")
TORCH_FREE += (".benchmarks.latency", ".benchmarks.latency.request", ".benchmarks.latency.plan")
TORCH_FREE += tuple(f".cli.{path.stem}" for path in ROOT.glob("vlp_fast/cli/[!_]*.py"))
TORCH_FREE += tuple(f".metrics.{path.stem}" for path in ROOT.glob("vlp_fast/metrics/[!_]*.py"))
TORCH_FREE += tuple(
    f".metrics.caption.{path.stem}" for path in ROOT.glob("vlp_fast/metrics/caption/[!_]*.py")
)
TORCH_FREE += (".engine.recorded_run", ".engine.folder_lock", ".data.given_paths", ".__main__")
TORCH_FREE += (".data.config", ".tasks.config", ".recipes", ".recipes.soho", ".recipes.e2e_vlp")
TORCH_FREE += (".weights", ".weights.published", ".inference.create", ".tasks.pretraining.config")
TORCH_FREE += (".recipes.from_file", ".recipes.downstream", ".data.samples", ".models")
TORCH_FREE += (".tasks.downstream.config", ".tasks.retrieval.config", ".recipes.retrieval")
TORCH_FREE += (".tasks.detection.config", ".recipes.detection")

VAGUE_NAMES = {"utils", "util", "misc", "common", "helpers", "tools", "stuff"}
LONGEST_FILE = 400

# Calls that wait for the GPU, and where one is allowed because its input is on the host anyway.
WAITING_CALLS = {"item", "cpu", "tolist", "nonzero", "numpy"}
ON_HOST = "the assignment of the reference runs in SciPy, on the host"
WAITING_ALLOWED: dict[tuple[str, str], str] = {
    ("vlp_fast/reference/assignment.py", "cpu"): ON_HOST,
    ("vlp_fast/reference/assignment.py", "numpy"): ON_HOST,
    ("vlp_fast/reference/assignment.py", "tolist"): ON_HOST,
    ("vlp_fast/ops/assignment.py", "numpy"): "SciPy's contract: an ndarray in, ndarrays out",
    ("vlp_fast/reference/attention.py", "tolist"): "bounds of sequences, on a CPU only",
    ("vlp_fast/ops/attention_torch.py", "tolist"): "bounds of sequences, on a CPU only",
    ("vlp_fast/ops/targets.py", "tolist"): "bounds of images, on a CPU only",
}


def name_of(path: Path) -> str:
    """Dotted name: kernels/attention.py is vlp_fast.kernels.attention."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "vlp_fast" else ("vlp_fast", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Second part of a dotted name; empty for the package itself and for other packages."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "vlp_fast" else ""


def imported(tree: ast.AST, own: str) -> Iterator[str]:
    """Every module of the package that a file imports, at the top, inside functions or by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = own.split(".")[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def import_violations(source: str, own: str) -> list[str]:
    """What a file of this name imports against the rules."""
    room, found = room_of(own), []
    for module in imported(ast.parse(source), own):
        target = room_of(module)
        if target in ("", room, *FOR_ALL):
            continue
        part = [*module.split("."), "", ""][2]
        only, excepted = (rule.get((room, target)) for rule in (ONLY, EXCEPT))
        is_left_out = (only is not None and part not in only) or part in (excepted or ())
        if target not in MAY_IMPORT[room] or is_left_out:
            found.append(f"{own} imports {module}")
    return found


def waiting_calls(source: str) -> list[str]:
    """Names of the methods called in a file that wait for the GPU."""
    return [
        node.func.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in WAITING_CALLS
    ]


def undocumented(source: str) -> list[str]:
    """Public functions and classes at the top of a file, and the file, without a docstring."""
    tree = ast.parse(source)
    if not tree.body:
        return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [] if ast.get_docstring(tree) else ["<module>"]
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_") and not is_overload(node):
            found += [] if ast.get_docstring(node) else [node.name]
    return found


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether a definition is only a signature for type checkers."""
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_imports_point_down(path: Path) -> None:
    if path != ROOT / "vlp_fast/__init__.py":  # the lazy public names, which reach everywhere
        assert not import_violations(path.read_text(), name_of(path))


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_public_names_have_docstrings(path: Path) -> None:
    assert not undocumented(path.read_text())


@pytest.mark.parametrize("path", [*PYTHON, *NATIVE, *TESTS], ids=relative)
def test_files_are_short_and_named_after_one_idea(path: Path) -> None:
    assert path.stem not in VAGUE_NAMES
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def listed(text: str) -> set[str]:
    """First words of the lines of a folder's docstring that name a file or a folder."""
    return set(re.findall(r"^ *([\w.]+(?:\.pyi?|\.sh|/))  ", text, re.M))


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_a_folder_says_what_its_files_are(folder: Path) -> None:
    said = listed(
        ast.get_docstring(ast.parse((folder / "__init__.py").read_text()), clean=False) or ""
    )
    files = {path.name for kind in ("*.py", "*.pyi", "*.sh") for path in folder.glob(kind)}
    rooms = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    mapped = {"kernels/", "benchmarks/"} if folder.name == "vlp_fast" else set()
    assert said == (files - {"__init__.py"}) | rooms | mapped


def test_the_native_folder_says_what_its_files_are() -> None:
    block = (ROOT / "csrc/README.md").read_text().split("```")[1]
    said = [line.split()[0] for line in block.strip().splitlines()]
    files = {path.relative_to(ROOT / "csrc").as_posix() for path in ROOT.glob("csrc/**/*.*")}
    assert sorted(said) == sorted(files - {"README.md"})


@pytest.mark.parametrize("room", ["reference", "ops", "layers", "models", "swaps"])
def test_nothing_in_a_step_waits_for_the_gpu(room: str) -> None:
    found = {
        (relative(path), call)
        for path in ROOT.glob(f"vlp_fast/{room}/**/*.py")
        for call in waiting_calls(path.read_text())
    }
    allowed = {entry for entry in WAITING_ALLOWED if entry[0].startswith(f"vlp_fast/{room}/")}
    assert found == allowed


def test_configuration_and_command_line_need_no_torch() -> None:
    names = [f"vlp_fast{name}" for name in TORCH_FREE]
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_exist() -> None:
    import vlp_fast

    for name in vlp_fast.__all__:
        assert getattr(vlp_fast, name) is not None
    assert set(vlp_fast.__all__) <= set(dir(vlp_fast))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vlp_fast.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("own", "source", "is_wrong"),
    [
        ("vlp_fast.ops.attention", "from vlp_fast.layers.attention import GridAttention", True),
        ("vlp_fast.ops.attention", "def f():\n    import vlp_fast.models.soho", True),
        ("vlp_fast.models.soho", "from vlp_fast.data.loader import Loader", True),
        ("vlp_fast.models.soho", "from ..data import loader", True),
        ("vlp_fast.models.soho", "from vlp_fast import tasks", True),
        ("vlp_fast.models.soho", "import_module('vlp_fast.engine.trainer')", True),
        ("vlp_fast.kernels.attention", "from vlp_fast.reference import attention", True),
        ("vlp_fast.data.loader", "from vlp_fast.ops.attention import attention", True),
        ("vlp_fast.ops.matching", "import vlp_fast._C", True),
        ("vlp_fast.ops.matching", "from vlp_fast.benchmarks.case import Case", True),
        ("vlp_fast.data.answers", "from vlp_fast.metrics import score", True),
        ("vlp_fast.data.answers", "import vlp_fast.metrics", True),
        ("vlp_fast.metrics.score", "from vlp_fast.data.records import Dataset", True),
        ("vlp_fast.metrics.score", "from vlp_fast.ops.boxes import area", True),
        ("vlp_fast.tasks.task", "from vlp_fast.engine.phases import Phase", True),
        ("vlp_fast.engine.trainer", "from vlp_fast.metrics.score import Score", True),
        ("vlp_fast.engine.trainer", "from vlp_fast.layers.backbone import ResNet", True),
        ("vlp_fast.engine.trainer", "from vlp_fast.models.soho import Soho", True),
        ("vlp_fast.engine.trainer", "from vlp_fast.models import soho", True),
        ("vlp_fast.engine.trainer", "from ..tasks.pretraining.tagging import Tagging", True),
        ("vlp_fast.engine.trainer", "from vlp_fast.tasks import pretraining", True),
        ("vlp_fast.engine.trainer", "from vlp_fast import tasks", True),
        ("vlp_fast.engine.trainer", "import vlp_fast.tasks.tasks_of_mine", True),
        ("vlp_fast.engine.trainer", "from vlp_fast.data.sources import load_dataset", True),
        ("vlp_fast.engine.trainer", "from vlp_fast.data import sources", True),
        ("vlp_fast.engine.trainer", "from vlp_fast.tasks.task import Task", False),
        ("vlp_fast.engine.trainer", "from vlp_fast.data.records import Dataset", False),
        ("vlp_fast.tasks.pretraining.soho", "from vlp_fast.models.soho import Soho", False),
        ("vlp_fast.tasks.pretraining.soho", "from vlp_fast.metrics import score", False),
        ("vlp_fast.benchmarks.case", "from .harness import measure", False),
        ("vlp_fast.native", "import vlp_fast._C", False),
        ("vlp_fast.data.loader", "from vlp_fast.ops.packing import Grid", False),
        ("vlp_fast.models.soho", "from vlp_fast.layers.attention import GridAttention", False),
        ("vlp_fast.models.soho", "from vlp_fast.errors import InputError", False),
        ("vlp_fast.models.soho", "import torch\nfrom torch.nn import Linear", False),
    ],
)
def test_the_import_rule_sees(own: str, source: str, is_wrong: bool) -> None:
    assert bool(import_violations(source, own)) is is_wrong


def test_the_other_rules_see() -> None:
    assert waiting_calls("n = x.sum().item()\ny = x.cpu()") == ["item", "cpu"]
    assert waiting_calls('"""never call .item() or .cpu()"""') == []
    source = '"""m"""\ndef f(): ...\nclass C: ...\ndef _g(): ...\ndef h():\n    """h"""'
    assert undocumented(source) == ["f", "C"]
