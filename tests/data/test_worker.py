"""A batch arrives as it was sent; a worker that cannot send it, or is gone, is told in one line."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vlp_fast.data import transfer
from vlp_fast.data.ahead import ahead
from vlp_fast.data.examples import Example
from vlp_fast.data.loader import Loader, _pinned
from vlp_fast.data.order import EvaluationOrder
from vlp_fast.data.worker import Worker
from vlp_fast.errors import InputError

Collate = Callable[[list[Example], int, int], Any]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no worker processes")


def there_and_back(value: Any) -> Any:
    near, far = socket.socketpair()
    with near, far:
        transfer.send(near, value)
        return transfer.receive(far)


def test_images_stay_channels_last_on_the_way() -> None:
    """Or they would be copied twice: to rows of one colour, and back."""
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 4, 5, 3).permute(0, 3, 1, 2)
    found = there_and_back(images)
    assert torch.equal(found, images)
    assert found.stride() == images.stride()


def test_a_signal_in_the_middle_of_a_value_does_not_end_it() -> None:
    """The first Ctrl-C only notes that the step in progress is the last."""
    near, far = socket.socketpair()
    heard = threading.Event()

    def send_in_two() -> None:
        wire = _Recorder()
        transfer.send(wire, "text " * 1000)  # type: ignore[arg-type]
        near.sendall(wire.sent[:100])
        time.sleep(0.2)  # the other end waits for the rest
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        heard.wait(20)
        near.sendall(wire.sent[100:])

    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.set())
    thread = threading.Thread(target=send_in_two)
    thread.start()
    try:
        with near, far:
            assert transfer.receive(far) == "text " * 1000
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


class _Recorder:
    """Takes what is sent over a socket without descriptors."""

    def __init__(self) -> None:
        self.sent = b""

    def sendmsg(self, parts: list[bytes], *_: object) -> None:
        self.sendall(b"".join(parts))

    def sendall(self, part: bytes) -> None:
        self.sent += part


def steps_of(collate: Collate, *, steps: int = 6, workers: int = 2) -> Iterator[tuple[int, Any]]:
    loader: Loader[Any] = Loader(
        order=EvaluationOrder(range(steps), 1),
        load=lambda index, epoch, step: index,  # type: ignore[arg-type, return-value]
        collate=collate,
        num_workers=workers,
        steps=range(steps),
    )
    return iter(loader)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.int32]
)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3, 7)])
def test_tensors_arrive_bit_for_bit(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    sent = torch.randint(0, 2, shape).to(dtype)
    found = there_and_back((sent, sent))
    assert (found[0].dtype, found[0].shape) == (sent.dtype, sent.shape)
    assert torch.equal(found[0], sent)
    assert found[0] is found[1]


def test_views_arrive_alone_and_arrays_with_them() -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    array = np.arange(5, dtype=np.int16)
    sent = {"t": whole.t()[1:3], "row": whole[2], "array": array, "nan": torch.tensor(torch.nan)}
    found = there_and_back(sent)
    assert torch.equal(found["t"], sent["t"])
    assert found["row"].untyped_storage().nbytes() == 24
    assert np.array_equal(found["array"], array)
    assert found["nan"].isnan()
    found["row"] += 1  # writable, and nobody else's
    assert torch.equal(whole[2], torch.arange(12.0, 18.0))


def test_memory_of_a_batch_is_returned_with_it() -> None:
    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))  # noqa: PTH208

    there_and_back(torch.zeros(1000))
    before = descriptors()
    kept = [there_and_back(torch.full((1000,), float(i))) for i in range(5)]
    assert all((batch == i).all() for i, batch in enumerate(kept))
    del kept
    assert descriptors() == before


@pytest.mark.dist
@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: os._exit(3), "ended with 3"),
    ],
)
def test_a_worker_that_is_gone_is_noticed_at_once(end: Callable[[], None], how: str) -> None:
    def collate(examples: list[Example], epoch: int, step: int) -> int:
        if step == 3:
            end()
        return step

    found, began = [], time.monotonic()
    with pytest.raises(InputError, match=f"a loading process {how}; if memory"):
        found.extend(step for step, _ in steps_of(collate))
    assert found == [0, 1, 2][: len(found)]  # what has come may be dropped, never disordered
    assert time.monotonic() - began < 30


@pytest.mark.dist
def test_a_worker_killed_while_nobody_waits_for_it_is_noticed() -> None:
    worker = Worker(lambda step: (os.getpid(), step))
    worker.ask(1)
    pid, step = worker.answer()
    assert step == 1
    os.kill(pid, signal.SIGKILL)
    worker._process.join()
    for _ in range(3):
        worker.ask(2)
    with pytest.raises(InputError, match="killed by SIGKILL"):
        worker.answer()
    worker.close()


@pytest.mark.dist
def test_a_worker_that_is_gone_is_noticed_before_its_turn() -> None:
    steps = steps_of(lambda examples, epoch, step: os.getpid(), steps=40)
    (_, first), (_, second) = next(steps), next(steps)
    assert first != second
    os.kill(second, signal.SIGKILL)
    time.sleep(1)
    with pytest.raises(InputError, match="killed by SIGKILL"):
        next(steps)  # the first one's turn


@pytest.mark.dist
def test_workers_heed_no_signal_but_end_when_they_are_closed() -> None:
    worker = Worker(lambda step: os.getpid())
    worker.ask(0)
    pid = worker.answer()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    worker.ask(1)
    assert worker.answer() == pid
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


LIMITED = """
import resource, sys, torch
from vlp_fast.data.loader import Loader
from vlp_fast.data.order import EvaluationOrder
from vlp_fast.errors import InputError

torch.ones(1) + 1  # as where a model was built; torch then knows the processor, which takes a file

def collate(examples, epoch, step):
    {child}
    return torch.full((1 << 20,), float(step))

loader = Loader(
    order=EvaluationOrder(range(8), 1), load=lambda index, epoch, step: index, collate=collate,
    num_workers=2, steps=range(0, 8),
)
kept = []
try:
    for step, batch in loader:
        {main}
        kept.append(batch)
        assert batch.eq(step).all()
except InputError as error:
    print(error)
"""
FEW_FILES = "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))"
SMALL_FILES = "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"


def limited(*, child: str = "pass", main: str = "pass", **options: Any) -> tuple[str, str]:
    code = LIMITED.format(child=child, main=main)
    done = subprocess.run(
        [*options.pop("before", []), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=600,
        **options,
    )
    return done.stdout, done.stderr


@pytest.mark.dist
@pytest.mark.parametrize(
    ("where", "what", "why"),
    [
        ("child", FEW_FILES, "Too many open files"),
        ("main", FEW_FILES, "Too many open files"),
        ("child", SMALL_FILES, "File too large"),
    ],
)
def test_a_batch_that_cannot_be_handed_over_is_one_line(where: str, what: str, why: str) -> None:
    out, err = limited(**{where: what})  # type: ignore[arg-type]
    assert out.startswith(f"a batch cannot be handed over by the process that loaded it ({why})")
    assert "--data.num-workers 0" in out
    assert (out.count("\n"), err) == (1, "")


@pytest.mark.dist
def test_a_worker_that_cannot_be_started_is_one_line() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be started \(Too many open files\); lower"):
            next(steps_of(lambda examples, epoch, step: step))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.dist
def test_neither_small_shared_memory_nor_a_long_temporary_folder_matters(tmp_path: Path) -> None:
    """4 MB a batch; where the system lets nobody mount, the folder alone is tried."""
    long = tmp_path / ("t" * 120)
    long.mkdir()
    script = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    before = ["unshare", "-rm", "sh", "-c", script, "-"]
    try:
        is_allowed = subprocess.run([*before, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        is_allowed = False
    environment = {**os.environ, "TMPDIR": str(long)}
    assert limited(before=before if is_allowed else [], env=environment) == ("", "")


@pytest.mark.dist
def test_errors_come_with_the_workers_traceback_whatever_they_are() -> None:
    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("odd")

    def collate(examples: list[Example], epoch: int, step: int) -> object:
        if step == 0:
            raise ZeroDivisionError("none")
        if step == 1:
            raise MemoryError
        if step == 2:
            raise Odd(1, 2)
        return lambda: None  # cannot be sent

    with pytest.raises(ZeroDivisionError, match="none") as caught:
        list(steps_of(collate))
    assert 'raise ZeroDivisionError("none")' in caught.value.__notes__[0]
    for step, kind, text in ((1, MemoryError, None), (2, RuntimeError, "Odd: odd")):
        worker = Worker(lambda asked: collate([], 0, asked))
        worker.ask(step)
        with pytest.raises(kind, match=text):
            worker.answer()


@pytest.mark.dist
def test_a_value_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(Exception, match=r"pickle|local object"):
        list(steps_of(lambda examples, epoch, step: lambda: None))


def test_values_are_pinned_one_ahead_in_another_thread() -> None:
    threads: list[threading.Thread] = []

    class Batch:
        def __init__(self, number: int) -> None:
            self.number = number

        def pin_memory(self) -> int:
            threads.append(threading.current_thread())
            return self.number

    def values() -> Iterator[Batch]:
        yield from map(Batch, range(3))
        raise ZeroDivisionError

    found = ahead(map(_pinned, values()), 4)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert list(ahead(map(_pinned, map(Batch, range(3))), 3)) == [0, 1, 2]
    assert threading.main_thread() not in threads
