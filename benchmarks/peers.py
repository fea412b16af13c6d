"""Packages of others that solve the same problem; each is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A package that may be installed."""

    distribution: str
    module: str
    function: str

    def load(self) -> Callable[..., Any] | None:
        """The function, or None where the package is missing."""
        try:
            found: Callable[..., Any] = getattr(import_module(self.module), self.function)
        except ModuleNotFoundError:
            return None
        return found

    @property
    def absence(self) -> str:
        """What to say where it is missing."""
        return f"not installed: pip install {self.distribution}"


LAPX = Peer(distribution="lapx", module="lap", function="lapjvx")
TORCH_LINEAR_ASSIGNMENT = Peer(
    distribution="torch-linear-assignment",
    module="torch_linear_assignment",
    function="batch_linear_assignment",
)
PEERS = (LAPX, TORCH_LINEAR_ASSIGNMENT)


def versions() -> str:
    """The peers that are installed, `name version` each."""
    found = []
    for peer in PEERS:
        try:
            found.append(f"{peer.distribution} {version(peer.distribution)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
