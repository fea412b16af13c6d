"""The way back from run.json to the configuration of the run that wrote it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.recorded_run import kind_names, restore_run
from vlp_fast.errors import InputError
from vlp_fast.models.config import E2EVLPConfig
from vlp_fast.recipes import RECIPES, recipe
from vlp_fast.tasks.pretraining.config import E2EVLPPretrainingConfig
from vlp_fast.whole_file import write_json


def recorded(run: RunConfig) -> dict[str, Any]:
    """What run.json holds of a configuration."""
    return {"kinds": kind_names(run), "config": asdict(run)}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    run = replace(recipe(name), run_dir=tmp_path, steps=7)
    write_json(tmp_path / "run.json", recorded(run))
    assert restore_run(tmp_path) == run


def test_overridden_values_survive_the_round_trip(tmp_path: Path) -> None:
    run = recipe("soho_r18_3")
    run = replace(
        run,
        run_dir=tmp_path,
        data=replace(run.data, root=Path("a/b"), vocabulary=Path("v.txt"), shorter=None),
        model=replace(run.model, revival=0.5),
        init=(Path("w.pth"),),
    )
    write_json(tmp_path / "run.json", recorded(run))
    assert restore_run(tmp_path) == run


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "[]",
        "{}",
        '{"config": {}}',
        '{"config": null}',
        '{"config": 3}',
        "[" * 100_000,
    ],
)
def test_no_run_is_an_input_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"no readable run\.json"):
        restore_run(tmp_path)


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("model", "colour", "red", "another version.*colour"),
        ("train", "precision", "fp8", "another version.*'fp8' is none of 'auto', 'fp32'"),
    ],
)
def test_a_field_or_choice_of_another_version_is_an_input_error(
    tmp_path: Path, section: str, field: str, value: str, message: str
) -> None:
    described = recorded(replace(recipe("soho_tiny"), run_dir=tmp_path))
    described["config"][section][field] = value
    write_json(tmp_path / "run.json", described)
    with pytest.raises(InputError, match=message):
        restore_run(tmp_path)


@pytest.mark.parametrize("section", ["model", "data", "optim", "train", "task"])
@pytest.mark.parametrize("value", [[], None, [1], "num_codes", 3])
def test_a_section_that_is_none_is_an_input_error(
    tmp_path: Path, section: str, value: object
) -> None:
    described = recorded(replace(recipe("soho_tiny"), run_dir=tmp_path))
    described["config"][section] = value
    write_json(tmp_path / "run.json", described)
    with pytest.raises(InputError, match=r"another version|no readable run\.json"):
        restore_run(tmp_path)


@pytest.mark.parametrize(
    "kinds",
    [
        {"task": "SohoPretrainingConfig"},
        {"model": "SohoConfig", "task": "CountingConfig"},
        {"model": "SohoPretrainingConfig", "task": "SohoConfig"},
        {"model": "ModelConfig", "task": "TaskConfig"},
        {"model": ["SohoConfig"], "task": {}},
        [],
        "SohoConfig",
        None,
    ],
)
def test_kinds_of_sections_that_are_not_known_are_an_input_error(
    tmp_path: Path, kinds: object
) -> None:
    """Those of an earlier version, which named none, of a task that is not there, of a base."""
    described = recorded(replace(recipe("soho_tiny"), run_dir=tmp_path))
    write_json(tmp_path / "run.json", described | {"kinds": kinds})
    with pytest.raises(InputError, match=r"run\.json: was written by another version"):
        restore_run(tmp_path)
    del described["kinds"]
    write_json(tmp_path / "run.json", described)
    with pytest.raises(InputError, match=r"another version, .*\(missing or unknown: 'kinds'\)"):
        restore_run(tmp_path)


def test_the_kinds_say_which_settings_they_are(tmp_path: Path) -> None:
    run = replace(recipe("e2e_vlp_tiny"), run_dir=tmp_path)
    described = recorded(run)
    assert described["kinds"] == {
        "model": "vlp_fast.models.config.E2EVLPConfig",
        "task": "vlp_fast.tasks.pretraining.config.E2EVLPPretrainingConfig",
    }
    write_json(tmp_path / "run.json", described)
    again = restore_run(tmp_path)
    assert (type(again.model), type(again.task)) == (E2EVLPConfig, E2EVLPPretrainingConfig)


def test_a_tuple_that_is_none_is_an_input_error(tmp_path: Path) -> None:
    described = recorded(replace(recipe("soho_tiny"), run_dir=tmp_path))
    described["config"]["data"]["shorter"] = 5
    write_json(tmp_path / "run.json", described)
    with pytest.raises(InputError, match="another version"):
        restore_run(tmp_path)
