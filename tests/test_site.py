"""The tools of `make docs`: what they refuse, and what they make of docstrings and pages."""

import ast
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import PAGES, ROOT

import vlp_fast
from vlp_fast import ops

sys.path.insert(0, str(ROOT / "docs"))
from building.docstrings import escaped, rewritten
from building.hosts import fetched_elsewhere
from building.hosts import main as look_at_hosts

needs_sphinx = pytest.mark.skipif(
    find_spec("sphinx") is None or find_spec("myst_parser") is None,
    reason="needs the extra [docs], as `make .venv/docs` installs it",
)

DOCSTRING = """Finds the nearest, `argmin_j |x - d_j|`; *no* star, no_link_ is meant.

    h_i = argmin_j |v_i - d_j|      Eq. 2

>>> nearest(x)
3

- first of a list,
  which goes on
- second

Args:
    x, codes: (N, D) rows, of
        any strides.
    *others: none.

Returns:
    (N,) int64.

Raises:
    ValueError: widths `D` differ.

Source: SOHO, eq. 2.
"""
EXPECTED = r"""Finds the nearest, \ ``argmin_j |x - d_j|``\ ; \*no\* star, no\_link\_ is meant.

.. code-block:: text

   h_i = argmin_j |v_i - d_j|      Eq. 2

.. code-block:: python

   >>> nearest(x)
   3

* first of a list, which goes on

* second

:Parameters:
   * **x, codes**: (N, D) rows, of any strides.
   * **\*others**: none.

:Returns: (N,) int64.

:Raises:
   * **ValueError**: widths \ ``D``\  differ.

:Source: SOHO, eq. 2.
"""


def test_a_docstring_as_restructured_text() -> None:
    assert [line.rstrip() for line in rewritten(DOCSTRING.splitlines())] == [
        line.rstrip() for line in EXPECTED.splitlines()
    ] + [""]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("1. not a list", r"\1. not a list"),
        ("(a) no list", r"\(a) no list"),
        ("- no list", r"\- no list"),
        ("a `b`s", r"a \ ``b``\ s"),
        ("<x> and `", r"\<x> and \`"),
    ],
)
def test_marks_of_restructured_text_are_taken_at_their_word(text: str, safe: str) -> None:
    assert escaped(text) == safe


@pytest.mark.parametrize(
    ("page", "is_refused"),
    [
        ('<script src="https://cdn.example/x.js"></script>', True),
        ('<link rel="stylesheet" href="//fonts.example/a.css">', True),
        ('<img src="http://pictures.example/a.png">', True),
        ("<style>@import 'https://fonts.example/a.css';</style>", True),
        ("<style>body { background: url(https://a.example/b.png) }</style>", True),
        ('<a href="https://people.example">may be followed</a><img src="a.png">', False),
        ('<script src="_static/x.js"></script><link href="a.css">', False),
    ],
)
def test_a_page_that_asks_another_host_is_refused(
    page: str, is_refused: bool, tmp_path: Path
) -> None:
    file = tmp_path / "index.html"
    file.write_text(page)
    assert bool(fetched_elsewhere(file)) is is_refused
    assert look_at_hosts(tmp_path) == int(is_refused)


def test_a_site_that_is_not_there_is_no_good_site(tmp_path: Path) -> None:
    assert look_at_hosts(tmp_path) == 1


GOOD = "# Small\n\n[a](other.md#part) ![p](pictures/p.png)\n\n```{toctree}\nother\n```\n"
BAD = (
    "# Small\n\n[a](other.md#gone) [b](gone.md) ![p](pictures/gone.png)\n\n```python\na b $\n```\n"
)
TOLD = (
    "local id not found",
    "'gone.md'",
    "image file not readable",
    "isn't included in any toctree",
)


@needs_sphinx
@pytest.mark.parametrize(("index", "told"), [(GOOD, ()), (BAD, TOLD)], ids=["good", "bad"])
def test_the_site_is_strict(index: str, told: tuple[str, ...], tmp_path: Path) -> None:
    """Two small pages, built with the settings and the command of the whole site."""
    folder = tmp_path / "docs"
    shutil.copytree(ROOT / "docs/building", folder / "building")
    shutil.copy(ROOT / "docs/conf.py", folder)
    (folder / "pictures").mkdir()
    shutil.copy(ROOT / "docs/pictures/retrieval.png", folder / "pictures/p.png")
    (folder / "index.md").write_text(index)
    (folder / "other.md").write_text("# Other\n\n## Part\n")
    done = subprocess.run(make_docs(folder, tmp_path / "site"), capture_output=True, text=True)
    assert (done.returncode != 0) is bool(told), done.stderr
    for warning in told:
        assert warning in done.stderr


def make_docs(folder: Path, out: Path) -> list[str]:
    """The command of the Makefile, for other folders."""
    (line,) = (line for line in (ROOT / "Makefile").read_text().splitlines() if "sphinx -q" in line)
    words = line.split()[1:]
    places = {"docs": str(folder), "build/site": str(out)}
    return [sys.executable, *(places.get(word, word) for word in words)]


def test_what_a_reader_imports_is_in_the_reference() -> None:
    """Names of the package and of `ops`, and every layer, model, task and configuration."""
    pages = "\n".join(text for name, text in PAGES.items() if name.startswith("reference/"))
    listed = {line.split()[-1] for line in pages.splitlines() if "automodule::" in line}
    for package in (vlp_fast, ops):
        values = (getattr(package, name) for name in package.__all__ if name[0] != "_")
        assert {getattr(v, "__module__", v.__class__) for v in values if callable(v)} <= listed
    bases = {"nn.Module", "Task", "Objective", "TaskConfig", "ModelConfig", "VisionLanguageModel"}
    for room in ("layers", "models", "tasks"):
        for path in ROOT.glob(f"vlp_fast/{room}/**/*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            classes = (n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef))
            found = {base for c in classes for base in map(ast.unparse, c.bases)}
            assert not found & bases or name in listed | LEFT_OUT, name


LEFT_OUT = {"vlp_fast.layers.residual_block", "vlp_fast.layers.float32_state"}
"""Parts of layers that are listed, not made to be used alone."""
