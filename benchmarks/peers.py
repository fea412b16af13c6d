"""Packages of others that solve the same problem; each is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch

from .case import Provider


class Peer(NamedTuple):
    """A package that may be installed."""

    distribution: str
    module: str
    function: str

    def load(self) -> Callable[..., Any] | None:
        """The function, or None where the package is missing.

        How exact float32 products are stays as it was: RF-DETR's import changes it for everybody.
        """
        precision = torch.get_float32_matmul_precision()
        try:
            found: Callable[..., Any] = getattr(import_module(self.module), self.function)
        except (ImportError, AttributeError, OSError, RuntimeError):  # or made for another PyTorch
            return None
        finally:
            torch.set_float32_matmul_precision(precision)
        return found

    def provide(self, provider_of: Callable[[Callable[..., Any]], Provider]) -> Provider:
        """What one makes of the function; or why not, where the package is missing."""
        function = self.load()
        return self._absent() if function is None else provider_of(function)

    def provide_later(self, solve: Callable[..., Any], read: Callable[..., Any]) -> Provider:
        """The same for a package that takes seconds to import: not to name the cases.

        Args:
            solve: called with the function and the problem.
            read: as a provider's.
        """
        if not version_of(self.distribution):
            return self._absent()

        def prepare(problem: Any) -> tuple[Callable[..., Any], Any]:
            if (function := self.load()) is None:
                raise ImportError(f"{self.module} has no {self.function}, or does not import")
            return function, problem

        return Provider(lambda prepared: solve(*prepared), prepare, read)

    def _absent(self) -> Provider:
        return Provider(absence=f"not installed: pip install {self.distribution}")


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
RF_DETR_MATCHER = Peer("rfdetr", "rfdetr.models.matcher", "HungarianMatcher")
LW_DETR_MATCHER = Peer("transformers", "transformers.loss.loss_lw_detr", "LwDetrHungarianMatcher")
PEERS = (
    LAPX,
    TORCH_LINEAR_ASSIGNMENT,
    VECTOR_QUANTIZE,
    FLASH_ASSIGN,
    FLASH_ATTENTION,
    RF_DETR_MATCHER,
    LW_DETR_MATCHER,
)


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
