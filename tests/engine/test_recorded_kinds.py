"""Classes of configurations are told apart by module and name, in run.json as in Python."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.recorded_run import check_same_recipe, kind_names, restore_run
from vlp_fast.engine.run_folder import check_same_run
from vlp_fast.engine.trainer import train
from vlp_fast.errors import InputError
from vlp_fast.models.config import E2EVLPConfig, SohoConfig
from vlp_fast.recipes import recipe
from vlp_fast.tasks.pretraining.config import E2EVLPPretrainingConfig, SohoPretrainingConfig
from vlp_fast.whole_file import write_json

Write = Callable[..., RunConfig]


def made(module: str, name: str, base: type[Any]) -> type[Any]:
    """A class of that name, as one in a file of one's own."""
    kind = type(name, (base,), {"__module__": module})
    return dataclass(frozen=True, kw_only=True)(kind)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(run, kinds) makes a run folder whose run.json has these names of classes."""

    def written(run: RunConfig, kinds: dict[str, str] | None = None) -> RunConfig:
        run = replace(run, run_dir=tmp_path)
        described = {"kinds": kinds or kind_names(run), "config": asdict(run)}
        write_json(tmp_path / "run.json", described)
        return run

    return written


def test_two_classes_of_one_name_are_told_apart(write: Write, tmp_path: Path) -> None:
    run = recipe("soho_tiny")
    kinds = [made(module, "MyTaskConfig", SohoPretrainingConfig) for module in ("mine", "yours")]
    for kind in (*kinds, *kinds[::-1]):
        write(replace(run, task=kind(**vars(run.task))))
        assert type(restore_run(tmp_path).task) is kind
    write(run, {"model": "SohoConfig", "task": "MyTaskConfig"})
    with pytest.raises(InputError, match=r"may be mine\.MyTaskConfig or yours\.MyTaskConfig"):
        restore_run(tmp_path)


def test_bare_names_of_earlier_versions_are_read(write: Write, tmp_path: Path) -> None:
    write(recipe("e2e_vlp_tiny"), {"model": "E2EVLPConfig", "task": "E2EVLPPretrainingConfig"})
    run = restore_run(tmp_path)
    assert (type(run.model), type(run.task)) == (E2EVLPConfig, E2EVLPPretrainingConfig)


def test_a_class_that_has_moved_is_found_by_its_name(write: Write, tmp_path: Path) -> None:
    full = "vlp_fast.elsewhere.SohoConfig"
    write(recipe("soho_tiny"), {"model": full, "task": "SohoPretrainingConfig"})
    assert type(restore_run(tmp_path).model) is SohoConfig


def test_a_run_of_another_recipe_is_refused(finished: RunConfig) -> None:
    """Whatever it is called; a folder in which nothing has begun takes any."""
    other = replace(finished, name="other")
    kind = made("mine", "OtherTaskConfig", type(finished.task))
    task = replace(finished, task=kind(**vars(finished.task)))
    for run, asked in ((other, "asked is other;"), (task, "OtherTaskConfig)")):
        for check in (check_same_recipe, lambda run: check_same_run(run, print), train):
            with pytest.raises(InputError) as caught:
                check(run)
            said = f"{finished.directory}: holds a run of recipe {finished.name}"
            assert str(caught.value).startswith(said)
            assert asked in str(caught.value)
    check_same_run(finished, print)
    check_same_run(replace(other, resume="never"), print)
    check_same_run(replace(other, run_dir=finished.directory / "absent"), print)
