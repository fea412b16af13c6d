"""Visual dictionary (SOHO section 3.2): features become the nearest of K learned codes.

    h_i = argmin_j |v_i - d_j|                                                               Eq. 2
    d_j <- gamma d_j + (1 - gamma) mean of the v_i with h_i = j, if there are any            Eq. 4
    f(v_i) = sg[d_{h_i} - v_i] + v_i                                                         Eq. 5

`semantics="paper"` is the above, and quantises with the codes as they were before the update.
`semantics="official"` is the published code's rule: moving averages of sums and counts that start
at zero, their Laplace-smoothed quotient as the codes, and rows quantised with the updated codes at
the old index. There a code that is not hit turns to zero: at once if it never was; if it was, with
gamma = 0.4, it begins to shrink after some ten steps and is zero after thirty.

In neither source, and off by default: `normalize_input`, `revival`, `initialise_from`.

Everything about the state is float32, whatever the input and the autocast, and nothing waits for
the device. Rows that are not valid or not finite never enter the state.

Shape suffixes: N rows, D width, K codes.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_fast.layers.kmeans import kmeans
from vlp_fast.ops import code_statistics, ema_update, laplace_ema_update, nearest_code

Semantics = Literal["paper", "official"]

LAPLACE_EPSILON = 1e-5
"""Pseudo-count per code of the official rule."""


class VisualDictionary(nn.Module):
    """Replaces each row by the nearest code, and moves the codes towards their rows in training.

    >>> dictionary = vlp_fast.VisualDictionary(2048, 768)
    >>> quantised, indices = dictionary(features)          # (N, 768), (N,)

    Args:
        num_codes: K.
        width: D.
        momentum: gamma, the weight of the old value, in [0, 1].
        semantics: "paper" (Eq. 4) or "official" (the published code's sums and counts).
        normalize_input: layer norm without parameters in front of the search.
        revival: codes whose moving number of hits per step falls below this are replaced by rows of
            the batch; None never. The mean number is N / K, so sensible values lie well below it.
        seed: of the rows that revival picks.

    Attributes (buffers, float32):
        embed: (K, D) codes, N(0, 1) at first.
        cluster_size: (K,) moving average of each code's hits per step.
        cluster_sum: (K,) hits since the start.
        embed_avg: (K, D) moving average of each code's sum of rows; official semantics only.

    Raises:
        ValueError: for an unknown semantics or a momentum outside [0, 1].

    Source: SOHO section 3.2; van den Oord et al. 2017 for the straight-through gradient.
    """

    embed: Tensor
    cluster_size: Tensor
    cluster_sum: Tensor
    embed_avg: Tensor | None
    step: Tensor

    def __init__(
        self,
        num_codes: int,
        width: int,
        momentum: float = 0.99,
        semantics: Semantics = "paper",
        *,
        normalize_input: bool = False,
        revival: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(momentum, semantics)
        self.num_codes = num_codes
        self.width = width
        self.momentum = momentum
        self.semantics = semantics
        self.normalize_input = normalize_input
        self.revival = revival
        self.seed = seed
        self.register_buffer("embed", torch.randn(num_codes, width))
        self.register_buffer("cluster_size", torch.zeros(num_codes))
        self.register_buffer("cluster_sum", torch.zeros(num_codes))
        average = torch.zeros(num_codes, width) if semantics == "official" else None
        self.register_buffer("embed_avg", average)
        if revival is not None:
            self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Quantises rows, and in training updates the codes from them.

        Args:
            x: (N, D) float.
            valid: (N,) bool, True on rows that may enter the state; all if None.

        Returns:
            quantised: (N, D) in x's dtype, the codes in value and x (normalised with
                `normalize_input`) in gradient.
            indices: (N,) int64 in [0, K).

        Raises:
            ValueError: if x is not (N, width).
        """
        if x.dim() != 2 or x.shape[1] != self.width:
            raise ValueError(
                f"VisualDictionary: received rows of shape {tuple(x.shape)}, expected "
                f"(N, {self.width})"
            )
        rows = self._normalise(x)
        # Autocast would take products of the search and of the update in half precision.
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            indices, codes = self._look_up(rows.detach().float(), valid)
        # The bracket is zero: the value is exactly the code's, the gradient passes to the rows.
        quantised = codes.to(rows.dtype) + (rows - rows.detach())
        return quantised, indices

    def initialise_from(
        self, x: Tensor, *, rows_per_step: float | None = None, seed: int = 0, iterations: int = 10
    ) -> None:
        """Starts the codes from data: k-means over rows, and fresh statistics.

        For once before training, on the features of a few batches; it may wait for the device.

        Args:
            x: (N, D) float, as `forward` takes them, N >= num_codes; rows that are not finite are
                left out.
            rows_per_step: rows that a training step will bring; the moving number of hits starts
                from k-means' counts, scaled to it (`revival` levels it in the first step). If x has
                as many, None.
            seed: same rows and seed, same codes.
            iterations: of Lloyd's algorithm.

        Raises:
            ValueError: for fewer finite rows than codes.
        """
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            rows = self._normalise(x.detach().float())
            rows = rows[rows.isfinite().all(dim=1)]
            codes, counts = kmeans(rows, self.num_codes, seed=seed, iterations=iterations)
            if rows_per_step is not None:
                counts = counts * (rows_per_step / len(rows))
            self.embed.copy_(codes)
            self.cluster_size.copy_(counts)
            self.cluster_sum.zero_()
            if self.embed_avg is not None:
                self.embed_avg.copy_(codes * counts[:, None])
            if self.revival is not None:
                self.step.zero_()

    def perplexity(self) -> Tensor:
        """Returns the perplexity of recent use, a scalar tensor on the device: K if use is even."""
        return perplexity(self.cluster_size)

    def used_codes(self) -> Tensor:
        """Returns the number of codes hit recently, a scalar int64 tensor on the device.

        Recently: the moving count exceeds that of one hit 1 / (1 - momentum) steps ago.
        """
        rest = 1 - self.momentum
        threshold = rest * self.momentum ** (1 / rest) if rest > 0 else 0.0
        return (self.cluster_size > threshold).sum()

    def extra_repr(self) -> str:
        """Describes the layer in `print(model)`."""
        return f"{self.num_codes}, {self.width}, {self.momentum}, {self.semantics!r}"

    def _normalise(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,)) if self.normalize_input else x

    def _look_up(self, rows: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        indices = nearest_code(rows, self.embed, valid)
        if not self.training:
            return indices, self.embed[indices]
        old_codes = self.embed[indices]
        self._update(rows, indices, valid)
        return indices, old_codes if self.semantics == "paper" else self.embed[indices]

    def _update(self, rows: Tensor, indices: Tensor, valid: Tensor | None) -> None:
        sums, counts, *_ = code_statistics(rows, indices, self.num_codes, valid)
        if self.revival is not None:
            self._grant(self.embed, (self.step == 0).expand(self.num_codes), counts)
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
        self.cluster_sum.add_(counts)
        if self.revival is not None:
            self._revive(rows, valid, counts, self.revival)
            self.step.add_(1)

    def _revive(self, rows: Tensor, valid: Tensor | None, counts: Tensor, threshold: float) -> None:
        """Moves codes of little use onto rows of the batch, each onto a row of its own."""
        is_candidate = rows.isfinite().all(dim=1)
        if valid is not None:
            is_candidate &= valid
        num_candidates = is_candidate.sum()
        keys = _hash(torch.arange(len(rows), device=rows.device), self.step, self.seed)
        # Rows that must not be picked sort last; ranks stay below the number of candidates.
        order = torch.where(is_candidate, keys, 1 << 32).argsort(stable=True)
        is_dead = (self.cluster_size < threshold) & (num_candidates > 0)
        rank = (is_dead.cumsum(0) - 1).clamp(min=0) % num_candidates.clamp(min=1)
        self._grant(rows[order[rank]], is_dead, counts)

    def _grant(self, vectors: Tensor, chosen: Tensor, counts: Tensor) -> None:
        """Gives chosen codes a vector and the mean use, so that each has time to find its rows."""
        mean = counts.mean()
        self.embed.copy_(torch.where(chosen[:, None], vectors, self.embed))
        self.cluster_size.copy_(torch.where(chosen, mean, self.cluster_size))
        if self.embed_avg is not None:
            self.embed_avg.copy_(torch.where(chosen[:, None], vectors * mean, self.embed_avg))


def perplexity(counts: Tensor) -> Tensor:
    """Returns exp(entropy) of a (K,) histogram, a scalar float32 tensor; 1 if it is empty."""
    counts = counts.float()
    shares = counts / counts.sum().clamp(min=torch.finfo(torch.float32).tiny)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def _hash(numbers: Tensor, step: Tensor, seed: int) -> Tensor:
    """Mixes int64 numbers with a step and a seed into [0, 2^32): a counter-based random draw."""
    mask = 0xFFFFFFFF
    mixed = (numbers * 0x9E3779B1 + step * 0x85EBCA6B + seed * 0xC2B2AE35) & mask
    for multiplier in (0x7FEB352D, 0x846CA68B):
        mixed = ((mixed ^ (mixed >> 16)) * multiplier) & mask
    return mixed ^ (mixed >> 16)


def _check(momentum: float, semantics: str) -> None:
    if semantics not in ("paper", "official"):
        raise ValueError(
            f"VisualDictionary: received semantics {semantics!r}, expected 'paper' or 'official'"
        )
    if not 0 <= momentum <= 1:
        raise ValueError(f"VisualDictionary: received momentum {momentum}, expected 0 to 1")
