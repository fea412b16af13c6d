"""A side in a process of its own, which does steps when it is told to.

A line of JSON in, a line of JSON out. The process has a session of its own, so that its CPU time
can be told from that of others, and ends with its input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import IO, Any, Self

from .cases import Plan

Answer = dict[str, Any]


class Side:
    """A side as the measuring process sees it.

    Args:
        plan: what it is to do.

    Raises:
        SideError: if it does not come up.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        words = [sys.executable, "-m", __name__, json.dumps(asdict(plan))]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.session = self._process.pid
        self.about: Answer = self._read()

    def ask(self, **what: Any) -> Answer:
        """Have it do something: `steps=n`, `reset=True` or `end=True`.

        Raises:
            SideError: if it fails.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise SideError(f"{self.plan.provider}: its process has ended") from None
        return self._read()

    def _read(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise SideError(f"{self.plan.provider}: its process ended with {code}")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise SideError(f"{self.plan.provider}: {answer['error']}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class SideError(RuntimeError):
    """A side failed; says which, and why."""


def serve(plan: Plan, commands: IO[str], answers: IO[str]) -> None:
    """Build a side, and do what comes in until nothing does."""
    from .timed import TimedSide

    def answer(make: Callable[[], Answer]) -> bool:
        try:
            found = make()
        except Exception as error:
            line = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
            found = {"error": line}
        answers.write(json.dumps(found) + "\n")
        answers.flush()
        return "error" not in found

    sides: list[TimedSide] = []

    def build() -> Answer:
        sides.append(TimedSide(plan))
        return sides[0].about

    if not answer(build):
        return
    for line in commands:
        wanted = json.loads(line)
        if not answer(lambda wanted=wanted: sides[0].do(**wanted)):  # type: ignore[misc]
            return


def main() -> None:
    """What the process runs: its own output goes where errors go."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Plan(**json.loads(sys.argv[1])), sys.stdin, answers)
    answers.close()
    # Loading processes and compilers must not keep it from ending.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
