"""The state of a visual dictionary, and how the rows of a step move it.

K codes, D width.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from vlp_fast.layers.code_update import finite_statistics, replace_codes
from vlp_fast.layers.float32_state import Float32State
from vlp_fast.layers.late_warning import LateWarning
from vlp_fast.ops import CodeStatistics, ema_update, laplace_ema_update

Semantics = Literal["paper", "official"]

LAPLACE_EPSILON = 1e-5
"""Pseudo-count per code of the official rule."""


class DictionaryState(Float32State):
    """Codes and moving averages of their use; arguments and buffers as of `VisualDictionary`."""

    embed: Tensor
    cluster_size: Tensor
    cluster_sum: Tensor
    embed_avg: Tensor | None
    step: Tensor

    def __init__(
        self,
        num_codes: int,
        width: int,
        momentum: float,
        semantics: Semantics,
        revival: float | None,
    ) -> None:
        super().__init__()
        _check(num_codes, width, momentum, semantics, revival)
        self.num_codes = num_codes
        self.width = width
        self.momentum = momentum
        self.semantics = semantics
        self.revival = revival
        self.register_buffer("embed", torch.randn(num_codes, width, dtype=torch.float32))
        self.register_buffer("cluster_size", torch.zeros(num_codes, dtype=torch.float32))
        self.register_buffer("cluster_sum", torch.zeros(num_codes, dtype=torch.float32))
        average = torch.zeros(num_codes, width, dtype=torch.float32)
        self.register_buffer("embed_avg", average if semantics == "official" else None)
        if revival is not None:
            self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        # No buffer: it is not saved, and what fills a module that was made on the meta device
        # fills it with what was saved alone.
        self._non_finite_rows = torch.zeros((), dtype=torch.int64, device=self.embed.device)
        self._warning = LateWarning(
            "VisualDictionary: received rows with NaN or infinity, expected finite features; they "
            "were left out of the codes. Look for what overflows in front of the dictionary."
        )
        self.register_load_state_dict_pre_hook(_before_loading)  # type: ignore[no-untyped-call]

    @property
    def non_finite_rows(self) -> Tensor:
        """Valid rows that were left out, () int64, on the codes' device."""
        left_out, device = self._non_finite_rows, self.embed.device
        if left_out.device != device:
            # Whoever asks in inference mode must not get a tensor that no step can write to.
            with torch.inference_mode(False):
                start = torch.zeros_like(left_out, device=device)
                self._non_finite_rows = start if left_out.is_meta else left_out.to(device)
        return self._non_finite_rows

    def is_dead(self) -> Tensor:
        """(K,) bool, codes that are to be revived; none before the first step."""
        return (self.cluster_size < (self.revival or 0)) & (self.step > 0)

    def move(self, statistics: CodeStatistics) -> None:
        """A step: Eq. 4 or the official rule, then codes that are revived."""
        sums, counts, non_finite = finite_statistics(statistics)
        if self.revival is None:
            self._average(sums, counts)
        else:
            is_dead = self.is_dead()
            hits = counts.masked_fill(is_dead, 0)
            # Whoever is granted less than the threshold would be dead again in the next step.
            use = hits.mean().clamp(min=self.revival)
            is_first = (self.step == 0) & (counts.sum() > 0)
            self._grant(is_first.expand(self.num_codes), use)
            self._average(sums.masked_fill(is_dead[:, None], 0), hits)
            is_revived = is_dead & (counts > 0)
            replace_codes(self.embed, sums / counts.clamp(min=1)[:, None], is_revived)
            self._grant(is_revived, use)
            # A step without rows is none: the first one that has some is still to come.
            self.step.add_((counts.sum() > 0).long())
        self.non_finite_rows.add_(non_finite.long())
        self._warning.watch(non_finite > 0)

    def _average(self, sums: Tensor, counts: Tensor) -> None:
        self.cluster_sum.add_(counts)
        if self.embed_avg is None:
            ema_update(self.embed, sums, counts, momentum=self.momentum)
            self.cluster_size.lerp_(counts, 1 - self.momentum)
        else:
            laplace_ema_update(
                self.embed,
                self.embed_avg,
                self.cluster_size,
                sums,
                counts,
                momentum=self.momentum,
                eps=LAPLACE_EPSILON,
            )

    def _grant(self, chosen: Tensor, mean: Tensor) -> None:
        """Gives chosen codes the mean use, so that each has time to find its rows."""
        self.cluster_size.copy_(torch.where(chosen, mean, self.cluster_size))
        if self.embed_avg is not None:
            sums = self.embed * mean
            self.embed_avg.copy_(torch.where(chosen[:, None], sums, self.embed_avg))

    def finish_update(self) -> None:
        """Brings a step that has begun to its end; nothing where a step is one call."""


def _before_loading(
    dictionary: DictionaryState, state: dict[str, Any], prefix: str, *_: object
) -> None:
    """Lets a state in that was saved with other semantics or without revival."""
    dictionary.finish_update()
    if dictionary.revival is None:
        state.pop(f"{prefix}step", None)
    elif f"{prefix}embed" in state:
        state.setdefault(f"{prefix}step", dictionary.step)
    if dictionary.embed_avg is None:
        state.pop(f"{prefix}embed_avg", None)


def _check(num_codes: int, width: int, momentum: float, semantics: str, revival: object) -> None:
    if num_codes < 1 or width < 1:
        raise ValueError(
            f"VisualDictionary: received {num_codes} codes of width {width}, expected at least 1"
        )
    if isinstance(revival, int | float) and not revival > 0:
        raise ValueError(
            f"VisualDictionary: received revival {revival}, expected hits per step above 0 or None"
        )
    if semantics not in ("paper", "official"):
        raise ValueError(
            f"VisualDictionary: received semantics {semantics!r}, expected 'paper' or 'official'"
        )
    if not 0 <= momentum <= 1:
        raise ValueError(f"VisualDictionary: received momentum {momentum}, expected 0 to 1")
