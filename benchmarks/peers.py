"""Packages of others that solve the same problem; each is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from .case import Provider


class Peer(NamedTuple):
    """A package that may be installed."""

    distribution: str
    module: str
    function: str

    def load(self) -> Callable[..., Any] | None:
        """The function, or None where the package is missing."""
        try:
            found: Callable[..., Any] = getattr(import_module(self.module), self.function)
        except (ImportError, AttributeError, OSError, RuntimeError):  # or made for another PyTorch
            return None
        return found

    def provide(self, provider_of: Callable[[Callable[..., Any]], Provider]) -> Provider:
        """What one makes of the function; or why not, where the package is missing."""
        function = self.load()
        if function is None:
            return Provider(absence=f"not installed: pip install {self.distribution}")
        return provider_of(function)


LAPX = Peer("lapx", "lap", "lapjvx")
TORCH_LINEAR_ASSIGNMENT = Peer(
    "torch-linear-assignment", "torch_linear_assignment", "batch_linear_assignment"
)
VECTOR_QUANTIZE = Peer("vector-quantize-pytorch", "vector_quantize_pytorch", "VectorQuantize")
FLASH_ASSIGN = Peer("flash-kmeans", "flash_kmeans.assign_euclid_triton", "euclid_assign_triton")
FLASH_UPDATE = Peer(
    "flash-kmeans", "flash_kmeans.centroid_update_triton", "triton_centroid_update_sorted_euclid"
)
FLASH_ATTENTION = Peer("flash-attn-4", "flash_attn.cute", "flash_attn_varlen_func")
PEERS = (LAPX, TORCH_LINEAR_ASSIGNMENT, VECTOR_QUANTIZE, FLASH_ASSIGN, FLASH_ATTENTION)


def versions() -> str:
    """The peers that are installed, `name version` each."""
    found = {peer.distribution: version_of(peer.distribution) for peer in PEERS}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def version_of(distribution: str) -> str:
    """Of a package; empty if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
