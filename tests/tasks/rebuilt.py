"""A task built anew with something else about it."""

from dataclasses import replace
from typing import Any, TypeVar

from vlp_fast.tasks.task import Task

Kind = TypeVar("Kind", bound=Task)


def with_settings(task: Kind, **changes: Any) -> Kind:
    """The task of other settings, for the same learner."""
    built = replace(task.settings, **changes).build(task.setup)
    built.learner = task.learner
    return built  # type: ignore[no-any-return]


def with_setup(task: Kind, **changes: Any) -> Kind:
    """The task from another setup, with a learner of its own."""
    return task.settings.build(replace(task.setup, **changes))  # type: ignore[no-any-return]
