"""Files of recipes that a run folder names: code of strangers is not run."""

import json
from pathlib import Path

import pytest

from vlp_fast.engine.recorded_run import recipe_file
from vlp_fast.errors import InputError


def named(folder: Path, file: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"config": {"name": "x", "file": file}}))
    return folder


def test_a_recipe_of_ones_own_is_known_by_its_full_path(tmp_path: Path) -> None:
    own = tmp_path / "counting.py"
    assert recipe_file(named(tmp_path / "run", str(own))) == own
    assert recipe_file(named(tmp_path / "run", None)) is None


@pytest.mark.parametrize(
    "file",
    [
        "evil.py",
        "../evil.py",
        "RUN/evil.py",
        "RUN/../run/evil.py",
        "/proc/self/cwd/evil.py",
        "//proc/self/cwd/evil.py",
        "/tmp/../proc/self/cwd/evil.py",
        "/dev/fd/3",
    ],
)
def test_code_that_may_have_come_with_a_folder_is_not_run(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="is not run"):
        recipe_file(named(folder, file.replace("RUN", str(folder))))
