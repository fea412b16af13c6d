"""Threads that stand for the processes of a run: what each of them has to say reaches all."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

from vlp_fast.errors import InputError, ToldElsewhere

T = TypeVar("T")
PATIENCE = 60.0


class Member:
    """One of them."""

    def __init__(self, rank: int, count: int, said: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.count = rank, count
        self._said, self._barrier = said, barrier

    def all_values(self, value: T) -> list[T]:
        return self._exchange(None, value)

    def fail(self, error: InputError) -> NoReturn:
        self._exchange(str(error), None)
        raise AssertionError("nobody was told")

    def _exchange(self, error: str | None, value: Any) -> list[Any]:
        self._said[self.rank] = error, value
        self._barrier.wait()
        said = [*self._said]
        self._barrier.wait()
        for rank, (text, _) in enumerate(said):
            if text is not None:
                kind = InputError if self.rank == 0 else ToldElsewhere
                raise kind(f"process {rank}: {text}")
        return [value for _, value in said]


def run_team(count: int, work: Callable[[Member], T]) -> list[T]:
    """What each of so many processes returns; one that raises ends the wait of the others."""
    said, barrier = [None] * count, threading.Barrier(count, timeout=PATIENCE)

    def one(rank: int) -> T:
        try:
            return work(Member(rank, count, said, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))
