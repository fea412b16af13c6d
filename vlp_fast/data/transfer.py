"""A value from one process to another: large parts in anonymous memory, which no folder limits.

Named shared memory lies in /dev/shm, which has 64 MB in a container unless somebody asked for more,
and sockets with names lie under TMPDIR, which may be too long for one. Here a value is written to
a file without a name, and its descriptor sent over a socket that both processes inherited. A file
is written whole before anything is sent: what fails, fails in the sender, which can still say so.

Tensors arrive bit for bit, writable and alone in their memory; images stay channels last.
"""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import torch
from torch import Tensor

LENGTH = struct.Struct("<Q")
"""A message: the length of the index, with the descriptor of the file if there is one; then it."""
ALIGNED = 64
"""Bytes: buffers begin at multiples of a cache line, as torch's own memory does."""


def send(connection: socket.socket, value: object) -> None:
    """Hand a value over; one without tensors and arrays takes no descriptor.

    Raises:
        ConnectionError: if nobody receives.
        OSError: for want of memory or descriptors, with nothing sent.
        Exception: if the value cannot be pickled, with nothing sent.
    """
    parts: list[pickle.PickleBuffer] = []
    rest = io.BytesIO()
    _Pickler(rest, protocol=5, buffer_callback=parts.append).dump(value)
    index = pickle.dumps(([len(part.raw()) for part in parts], rest.getvalue()))
    with contextlib.ExitStack() as files:
        descriptors = [files.enter_context(_written(parts)).fileno()] if parts else []
        socket.send_fds(connection, [LENGTH.pack(len(index))], descriptors)
    connection.sendall(index)


def receive(connection: socket.socket) -> Any:
    """Wait for a value.

    Raises:
        EOFError: if the sender has ended.
        OSError: if the value came and could not be taken, for want of memory or descriptors.
    """
    with contextlib.ExitStack() as files:
        try:
            message, descriptors, *_ = socket.recv_fds(connection, LENGTH.size, 1)
            for descriptor in descriptors:
                files.callback(os.close, descriptor)
            length = LENGTH.unpack(message)[0] if message else -1
            index = _whole(connection, length) if message else b""
        except ConnectionError:
            raise EOFError from None
        if len(index) != length:
            raise EOFError
        lengths, rest = pickle.loads(index)
        if not lengths:
            return pickle.loads(rest)
        if not descriptors:  # the system drops what the process has no room for
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        memory = memoryview(mmap.mmap(descriptors[0], 0))
    return pickle.loads(rest, buffers=_cut(memory, lengths))


def _whole(connection: socket.socket, length: int) -> bytes:
    """So many bytes, or fewer at the end; a signal that comes between two of them ends no wait."""
    received = bytearray()
    while more := connection.recv(length - len(received), socket.MSG_WAITALL):
        received += more
    return bytes(received)


def _written(parts: list[pickle.PickleBuffer]) -> BinaryIO:
    """A file without a name that holds the parts; never an empty one, which cannot be mapped."""
    if hasattr(os, "memfd_create"):
        file: BinaryIO = os.fdopen(os.memfd_create("batch"), "wb")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115  macOS has no memory with a descriptor
    try:
        for part in parts:
            file.write(part.raw())
            file.write(bytes(_padding(len(part.raw()))))
        file.flush()
    except BaseException:
        with contextlib.suppress(OSError):  # which flushes again
            file.close()
        raise
    return file


def _padding(length: int) -> int:
    return -length % ALIGNED or ALIGNED


def _cut(memory: memoryview, lengths: list[int]) -> Iterator[memoryview]:
    begin = 0
    for length in lengths:
        yield memory[begin : begin + length]
        begin += length + _padding(length)


class _Pickler(pickle.Pickler):
    """Leaves the bytes of tensors to the buffers of protocol 5, as NumPy does those of arrays."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor:
            return NotImplemented
        is_image = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
        rows = value.permute(0, 2, 3, 1) if is_image else value.contiguous()
        flat = rows.reshape(-1).view(torch.uint8)
        return _tensor, (flat.numpy(), value.dtype, tuple(rows.shape), is_image)


def _tensor(raw: Any, dtype: torch.dtype, shape: tuple[int, ...], is_image: bool) -> Tensor:
    rows = torch.from_numpy(raw).view(dtype).reshape(shape)
    return rows.permute(0, 3, 1, 2) if is_image else rows
