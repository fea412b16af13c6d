"""lucidrains' VectorQuantize with moving averages, and those that a ResidualVQ holds.

An instance gets a class that is ours first and theirs behind it. Its codebook becomes ours, which
holds the very buffers of theirs, in the same dictionary: whatever moves or loads one does so with
the other.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
import vector_quantize_pytorch
from torch import Tensor, nn

from vlp_fast.layers.ema_codebook import EmaCodebook
from vlp_fast.layers.vector_quantize import VectorQuantize
from vlp_fast.layers.vector_quantize_options import ONLY_IN_CALLS, PLAIN
from vlp_fast.swaps.swap import Change, become, count, in_words

Theirs: Any = vector_quantize_pytorch.VectorQuantize

# Attributes of theirs with the value that means what ours does, and what else they are called.
PLAIN_LAYER: dict[str, Any] = {
    "heads": 1,
    "has_projections": False,
    "use_cosine_sim": False,
    "learnable_codebook": False,
    "commitment_use_cross_entropy_loss": False,
    "has_codebook_orthogonal_loss": False,
    "has_codebook_diversity_loss": False,
    "directional_reparam": False,
    "in_place_codebook_optimizer": None,
    "sync_update_v": 0,
    "route_gradients_to_input": True,
}
PLAIN_CODEBOOK: dict[str, Any] = {
    "num_codebooks": 1,
    "ema_update": True,
    "manual_ema_update": False,
    "learnable_codebook": False,
    "affine_param": False,
    "vq_bridge": None,
}


class EmaVectorQuantize(VectorQuantize, Theirs):  # type: ignore[misc]
    """lucidrains' VectorQuantize with our search and update; an instance gets this class in place.

    Calls with options that ours has not, such as `indices` or `topk`, go to the original code, and
    are counted in `told`.
    """

    told: Counter[str]
    original: tuple[nn.Module]
    """Their codebook, in a tuple: it is no child of this module."""

    def forward(
        self,
        x: Tensor,
        indices: Tensor | None = None,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        topk: int | None = None,
        sample_codebook_temp: float | None = None,
        freeze_codebook: bool | None = None,
        **others: Any,
    ) -> Any:
        """Quantises vectors; arguments and results are those of the original."""
        given = {"indices": indices, "topk": topk, "sample_codebook_temp": sample_codebook_temp}
        more = given | others
        if not (reason := _not_ours(more) or self._other_rows(x)):
            return super().forward(x, mask=mask, lens=lens, freeze_codebook=freeze_codebook)
        count(self.told, reason)
        with self._as_theirs():
            options = {"mask": mask, "lens": lens, "freeze_codebook": freeze_codebook}
            return Theirs.forward(self, x, **options, **more)

    def update_indices(self, *args: Any, **options: Any) -> None:
        """Updates the codes from indices by the original code, as a ResidualVQ's beam search."""
        with self._as_theirs():
            Theirs.update_indices(self, *args, **options)

    update_ema_indices = update_indices

    def extra_repr(self) -> str:
        """Describes the layer in `print(model)`."""
        return f"{super().extra_repr()}, by vlp_fast"

    def _other_rows(self, x: Tensor) -> str:
        expected = (2, 3) if self.map_dims is None else (self.map_dims,)
        return "" if x.ndim in expected else f"x of {x.ndim} dimensions"

    @contextmanager
    def _as_theirs(self) -> Iterator[None]:
        (theirs,), ours = self.original, self._codebook
        _set_as(ours, theirs)
        self._modules["_codebook"] = theirs
        try:
            yield
        finally:
            self._modules["_codebook"] = ours


class EmaQuantizers:
    """Swaps VectorQuantize of vector-quantize-pytorch, alone or within a ResidualVQ."""

    def knows(self, module: nn.Module) -> bool:
        """Whether it is a VectorQuantize of that package."""
        return isinstance(module, Theirs)

    def refusal(self, module: nn.Module) -> str:
        """Why it is left alone."""
        if isinstance(module, EmaVectorQuantize):
            return "runs on vlp_fast already"
        if type(module) is not Theirs:
            return "a subclass, whose code may do something else"
        codebook: Any = module._codebook
        parts = [(module, PLAIN_LAYER), (codebook, PLAIN_CODEBOOK)]
        for part, wanted in parts:
            if reason := _other_attribute(part, wanted):
                return reason
        if not module.has_commitment_loss and module.commitment_weight != 0:
            return "commitment_weight is below 0, or set since"
        return _refused_codebook(codebook)

    def apply(self, module: nn.Module) -> Change:
        """Gives the instance our class and our codebook."""
        told: Counter[str] = Counter()
        theirs: Any = module._codebook
        is_map, is_volume = module.accept_image_fmap, module.accept_3d_fmap
        attributes = {"map_dims": 4 if is_map else 5 if is_volume else None}
        undo_class = become(module, EmaVectorQuantize, told=told, original=(theirs,), **attributes)
        module._modules["_codebook"] = _codebook_of(theirs)

        def undo() -> None:
            undo_class()
            _set_as(module._modules["_codebook"], theirs)
            module._modules["_codebook"] = theirs

        words = "EmaVectorQuantize: exact search, nothing of vectors x codes"
        return Change(became=words, undo=undo, since=lambda: in_words(told))


def _codebook_of(theirs: Any) -> EmaCodebook:
    """Ours, with the buffers of theirs. Nothing is drawn: they are there already."""
    ours = EmaCodebook(
        theirs.embed.shape[-1],
        theirs.codebook_size,
        decay=theirs.decay,
        eps=theirs.eps,
        kmeans_init=True,
        kmeans_iters=theirs.kmeans_iters,
        threshold_ema_dead_code=theirs.threshold_ema_dead_code,
        sync_codebook=theirs.use_ddp,
    )
    ours._buffers = theirs._buffers
    ours._start.is_up(ours.initted)  # `refusal` has looked; no step need
    return ours.train(theirs.training)


def _set_as(ours: Any, theirs: Any) -> None:
    """Tells their codebook what has been set on ours since, such as a schedule of the decay."""
    for name in ("training", "decay", "threshold_ema_dead_code"):
        setattr(theirs, name, getattr(ours, name))


def _other_attribute(part: nn.Module, wanted: dict[str, Any]) -> str:
    for name, value in wanted.items():
        if not hasattr(part, name):
            return f"has no {name} (vector-quantize-pytorch {version('vector-quantize-pytorch')})"
        found = getattr(part, name)
        if not (isinstance(found, PLAIN) and found == value):
            shown = found if isinstance(found, PLAIN) else f"a {type(found).__name__}"
            return f"{name} is {shown}, which is not implemented"
    return ""


def _refused_codebook(codebook: Any) -> str:
    sampled = getattr(codebook.gumbel_sample, "keywords", {})
    if sampled.get("stochastic") or sampled.get("straight_through"):
        return "codes are sampled, which is not implemented"
    if codebook._forward_hooks or codebook._forward_pre_hooks:
        return "its codebook has hooks, which ours would not call"
    if codebook.reset_cluster_size != codebook.threshold_ema_dead_code:
        return "reset_cluster_size is not threshold_ema_dead_code"
    if any(x.is_floating_point() and x.dtype != torch.float32 for x in codebook.buffers()):
        return "its codes are not float32"
    if codebook.initted.is_meta or not bool(codebook.initted):
        return "starts by k-means, which is drawn otherwise here; accelerate after the first step"
    return ""


def _not_ours(options: dict[str, Any]) -> str:
    """Why a call goes to the original code; empty if it does not."""
    for name, value in options.items():
        allowed = ONLY_IN_CALLS.get(name, (None,))
        if not (isinstance(value, PLAIN) and value in allowed):
            return f"{name}="
    return ""
