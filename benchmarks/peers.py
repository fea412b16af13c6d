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
        except ImportError:  # missing, or made for another PyTorch
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
VECTOR_QUANTIZE = Peer(
    distribution="vector-quantize-pytorch",
    module="vector_quantize_pytorch",
    function="VectorQuantize",
)
FLASH_ASSIGN = Peer(
    distribution="flash-kmeans",
    module="flash_kmeans.assign_euclid_triton",
    function="euclid_assign_triton",
)
FLASH_UPDATE = Peer(
    distribution="flash-kmeans",
    module="flash_kmeans.centroid_update_triton",
    function="triton_centroid_update_sorted_euclid",
)
FLASH_ATTENTION_3 = Peer(
    distribution="flash-attn-3", module="flash_attn_interface", function="flash_attn_varlen_func"
)
FLASH_ATTENTION_4 = Peer(
    distribution="flash-attn-4", module="flash_attn.cute", function="flash_attn_varlen_func"
)
XFORMERS = Peer(
    distribution="xformers", module="xformers.ops", function="memory_efficient_attention"
)
PEERS = (
    LAPX,
    TORCH_LINEAR_ASSIGNMENT,
    VECTOR_QUANTIZE,
    FLASH_ASSIGN,
    FLASH_ATTENTION_3,
    FLASH_ATTENTION_4,
    XFORMERS,
)


def versions() -> str:
    """The peers that are installed, `name version` each."""
    found = []
    for peer in PEERS:
        try:
            found.append(f"{peer.distribution} {version(peer.distribution)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
