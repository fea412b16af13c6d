"""Every command of every page exists, with its options: the real parser reads each of them."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from all_settings import all_settings
from pages import PAGES, ROOT, blocks, commands

from vlp_fast.cli import COMMANDS, main, options
from vlp_fast.recipes import RECIPES

TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
# Words of the shell and of the system, which are not ours to check.
OF_THE_SYSTEM = {"cd", "cmp", "cp", "export", "git", "pre-commit", "rm"}


class Parsed(Exception):
    """The words of a command are a configuration; nothing more is done."""


@pytest.fixture
def only_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end where they have read their words."""
    parse = options.parse

    def then_stop(*args: Any, **others: Any) -> Any:
        raise Parsed(parse(*args, **others))

    monkeypatch.setattr(options, "parse", then_stop)


@pytest.mark.parametrize("page", PAGES)
def test_commands_can_be_typed(
    page: str,
    only_parsed: None,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, code in files_of(PAGES[page]).items():
        Path(file).write_text(code)
    for words in commands(PAGES[page]):
        check(words, pytestconfig)
        assert "vlp-fast: " not in capsys.readouterr().err, words


def files_of(text: str) -> dict[str, str]:
    """Snippets that say which file they are."""
    named = [(re.match(r'"""(\w+\.py): ', code), code) for code in blocks(text, "python")]
    return {match[1]: code for match, code in named if match}


def check(words: list[str], config: pytest.Config) -> None:
    """Fail for words that no shell could make something of."""
    first, *rest = words
    first = first.removeprefix(".venv/bin/")
    if first in ("torchrun", "srun"):
        at = rest.index("vlp_fast")
        assert rest[at - 1] == "-m"
        parsed(rest[at + 1 :])
    elif first == "vlp-fast":
        parsed(rest)
    elif first == "make":
        assert set(rest) <= TARGETS, words
    elif first == "pytest":
        options_exist(rest, config)
    elif first == "pip":
        extras = re.findall(r"\[([\w,-]+)\]", " ".join(rest))
        assert {extra for named in extras for extra in named.split(",")} <= set(EXTRAS), words
    elif first == "python":
        script = (ROOT / rest[0]).read_text()
        assert all(flag in script for flag in rest if flag.startswith("--")), words
    elif first.startswith("benchmarks/"):
        assert (ROOT / first).is_file(), words
    else:
        assert first in OF_THE_SYSTEM or "=" in first, words


def parsed(words: list[str]) -> None:
    """The command line's own parser takes the words; two commands have none and would begin."""
    if words in (["doctor"], ["recipes"]):
        return
    with pytest.raises(Parsed):
        raise AssertionError(f"{words}: exit code {main(words)}")


def options_exist(words: list[str], config: pytest.Config) -> None:
    for word in words:
        if word.startswith("--"):
            config.getoption(word.partition("=")[0])  # raises where pytest has none of that name


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_speaks_of_exists(page: str) -> None:
    """Commands, recipes and options between backticks."""
    text = PAGES[page]
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.M)) <= {*TARGETS, "make-world"}
    assert set(re.findall(r"(?:^|`)vlp-fast (\w+)", text, re.M)) <= set(COMMANDS)
    asked = set(re.findall(r"vlp-fast train ([\w.:]+)", text))
    assert asked <= {*RECIPES, "RECIPE", *own_recipes(text)}
    settings = all_settings() | own_settings(text) | {"section.field"}
    flags = {flag.replace("-", "_").replace(".no_", ".") for flag in flags_of(text)}
    assert flags <= settings, f"no such setting: {sorted(flags - settings)}"
    plain = set(re.findall(r"`(--[a-z-]+)\b(?![.\w])", text))
    assert plain <= plain_options(), sorted(plain - plain_options())


def own_recipes(text: str) -> set[str]:
    """FILE.py:NAME of every function without arguments in a snippet that is a file."""
    return {
        f"{file}:{name}"
        for file, code in files_of(text).items()
        for name in re.findall(r"^def (\w+)\(\)", code, re.M)
    }


def own_settings(text: str) -> set[str]:
    """Settings of the tasks that snippets define."""
    bodies = re.findall(r"^class \w+\(TaskConfig\):\n((?: .*\n|\n)+)", text, re.M)
    return {f"task.{name}" for body in bodies for name in re.findall(r"^ +(\w+): .+ =", body, re.M)}


def flags_of(text: str) -> list[str]:
    """Every `--section.field` of a page."""
    return re.findall(r"--([a-z]+(?:\.[a-z_-]+)+)", text)


def plain_options() -> set[str]:
    """Options without a section: fields of the commands and of runs, and what sources spell out."""
    found = {"--exhaustive", "--max-restarts"}  # pytest's and torchrun's
    for path in (*ROOT.glob("vlp_fast/**/*.py"), *ROOT.glob("benchmarks/**/*.py")):
        source = path.read_text()
        found |= set(re.findall(r"(--[a-z][a-z-]+)", source))
        if path.parent.name == "cli" or path.stem in ("config", "bench"):
            fields = (
                node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AnnAssign)
            )
            names = (ast.unparse(node.target) for node in fields)
            found |= {f"--{name.replace('_', '-')}" for name in names}
    return found
