"""VectorQuantize in place of vector-quantize-pytorch's: moving averages, exact search, no N x K.

    from vlp_fast import VectorQuantize      # was: from vector_quantize_pytorch import ...

Names, shapes, defaults, start and `state_dict` are those of version 1.32.0, so that checkpoints go
both ways. What is different on purpose:

  * The search is exact: among codes that float32 does not tell apart that package takes any.
  * Nothing of size N x K is held, and no step waits for the device (but k-means in the first).
  * Rows that are not finite, or masked, never reach a code or a loss; of the former NaN comes out.
  * A loss over no row at all is 0, there NaN. The loss is float32 for every precision of x.
  * With the rotation trick the output is the code itself, there the code up to rounding.
  * Which rows replace dead codes, and where k-means starts, is drawn otherwise. Over several
    processes dead codes move onto rows of the first one.
  * k-means wants at least one row for each code, and says so. It runs in training only: evaluation
    never changes a code.

Shape suffixes: B batch, N rows of an item, D width, K codes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vlp_fast.layers.ema_codebook import EmaCodebook
from vlp_fast.layers.rotation_trick import rotate_to
from vlp_fast.layers.straight_through import commitment_loss, straight_through
from vlp_fast.layers.vector_quantize_options import check_call, check_numbers, check_options
from vlp_fast.ops.operands import no_autocast


class VectorQuantize(nn.Module):
    """Replaces vectors by the nearest code of a codebook of moving averages.

    >>> quantizer = vlp_fast.VectorQuantize(dim=256, codebook_size=512)
    >>> quantised, indices, commitment_loss = quantizer(x)   # (B, N, 256), (B, N), ()

    Args:
        dim: D.
        codebook_size: K.
        codebook_dim: D or None.
        decay: weight of the old averages.
        eps: Laplace smoothing, in rows.
        freeze_codebook: never move the codes, unless a call says otherwise.
        kmeans_init: start from the vectors of the first call in training.
        kmeans_iters: of k-means.
        threshold_ema_dead_code: codes with fewer rows on average are replaced; 0 never.
        channel_last: (B, N, D); if False, (B, D, N).
        accept_image_fmap: (B, D, H, W).
        accept_3d_fmap: (B, D, L, H, W).
        commitment_weight: of the loss.
        rotation_trick: the gradient of `rotate_to`; straight through if False. None: if D > 1.
        sync_codebook: one codebook for all processes; None: if there are several.
        return_zeros_for_masked_padding: what becomes of masked vectors; if False, they stay.
        separate_codebook_per_head: `codebook` is (1, K, D).
        others: further options of that package, at values that mean the above.

    The state is float32 whatever becomes of the model's dtype.

    Raises:
        ValueError: an option has a value that is not implemented here, or out of its range.
        TypeError: that package has no such option.

    Source: van den Oord et al. 2017, appendix A.1.
    """

    # What that package's layer tells about itself to those that hold it.
    has_projections = False
    heads = 1
    ema_update = True
    learnable_codebook = False
    use_cosine_sim = False

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        codebook_dim: int | None = None,
        decay: float = 0.8,
        eps: float = 1e-5,
        freeze_codebook: bool = False,
        kmeans_init: bool = False,
        kmeans_iters: int = 10,
        threshold_ema_dead_code: float = 0,
        channel_last: bool = True,
        accept_image_fmap: bool = False,
        accept_3d_fmap: bool = False,
        commitment_weight: float = 1.0,
        rotation_trick: bool | None = None,
        sync_codebook: bool | None = None,
        return_zeros_for_masked_padding: bool = True,
        separate_codebook_per_head: bool = False,
        **others: Any,
    ) -> None:
        super().__init__()
        check_options({"codebook_dim": codebook_dim, **others}, dim)
        check_numbers(dim, codebook_size, decay, eps)
        self.project_in, self.project_out = nn.Identity(), nn.Identity()
        self.separate_codebook_per_head = separate_codebook_per_head
        self.dim = dim
        self.codebook_size = codebook_size
        self.freeze_codebook = freeze_codebook
        self.channel_last = channel_last
        self.map_dims = 4 if accept_image_fmap else 5 if accept_3d_fmap else None
        self.commitment_weight = commitment_weight
        self.rotation_trick = dim > 1 if rotation_trick is None else rotation_trick
        self.return_zeros_for_masked_padding = return_zeros_for_masked_padding
        self._codebook = EmaCodebook(
            dim,
            codebook_size,
            decay=decay,
            eps=eps,
            kmeans_init=kmeans_init,
            kmeans_iters=kmeans_iters,
            threshold_ema_dead_code=threshold_ema_dead_code,
            sync_codebook=sync_codebook,
        )

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
        **others: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantises vectors, and in training updates the codes from them.

        Args:
            x: (B, N, D); (N, D); (B, D, N) or a feature map, as the constructor was told; floating
                point.
            mask: (B, N) bool, True on vectors that count; not for feature maps and (N, D).
            lens: (B,) int64, how many of an item's N count, in place of a mask.
            freeze_codebook: in place of the constructor's.
            others: at that package's defaults.

        Returns:
            quantised: as x, in shape and dtype; in training with a gradient to x. Masked: 0.
            indices: as x without D, int64. Masked: -1.
            commitment_loss: () float32, weight times the mean square of x minus its code; 0 in
                evaluation.

        Raises:
            ValueError: for another shape, both `mask` and `lens`, or an option that is not
                implemented here.
        """
        check_call(others)
        vectors = self._width_last(x)
        if lens is not None and mask is not None:
            raise ValueError(
                "VectorQuantize: received both mask and lens, expected one of them; lens counts "
                "the vectors that are there, from the first"
            )
        if lens is not None:
            mask = torch.arange(vectors.shape[1], device=lens.device) < lens[:, None]
        rows, valid = vectors.reshape(-1, self.dim), self._flat_mask(mask, x, vectors)
        if valid is not None:  # what lies under the mask must not reach a gradient either
            rows = torch.where(valid[:, None], rows, 0)
        freeze = self.freeze_codebook if freeze_codebook is None else freeze_codebook
        quantised, indices, loss = self._quantise(rows, valid, freeze)
        if valid is not None:
            padding = 0 if self.return_zeros_for_masked_padding else vectors.reshape(-1, self.dim)
            quantised = torch.where(valid[:, None], quantised, padding)
            indices = indices.masked_fill(~valid, -1)
        quantised = quantised.view(vectors.shape)
        if vectors is not x:
            quantised = quantised.movedim(-1, 1)
        return quantised, indices.view(vectors.shape[:-1]), loss

    @property
    def codebook(self) -> Tensor:
        """The codes, (K, D) float32; (1, K, D) with `separate_codebook_per_head`."""
        embed = self._codebook.embed
        return embed if self.separate_codebook_per_head else embed[0]

    @codebook.setter
    @torch.no_grad()
    def codebook(self, codes: Tensor) -> None:
        self._codebook.embed.copy_(codes)

    @torch.no_grad()
    def expire_codes_(self, x: Tensor) -> None:
        """Moves codes of little use onto vectors of x, in training with `threshold_ema_dead_code`.

        `forward` does so by itself, after each update.
        """
        if self.training:
            rows = self._width_last(x).reshape(-1, self.dim)
            self._codebook.replace_dead(rows, rows.isfinite().all(dim=1))

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """Returns the codes of indices, D where `forward` has it."""
        codes = self._codebook.embed[0][indices]
        return codes if self.channel_last and self.map_dims is None else codes.movedim(-1, 1)

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """Returns the same: there is no projection behind the codes."""
        return self.get_codes_from_indices(indices)

    def extra_repr(self) -> str:
        """Describes the layer in `print(model)`."""
        return f"{self.dim}, {self.codebook_size}, decay={self._codebook.decay}"

    def _quantise(
        self, rows: Tensor, valid: Tensor | None, freeze: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Autocast would take products of the search and of the update in half precision.
        with torch.no_grad(), no_autocast(rows):
            found = rows.detach()
            found = found.float() if found.dtype == torch.float64 else found
            codes, found = self._codebook(found, valid, freeze=freeze)
        codes, indices = codes.to(rows.dtype), found.clamp(min=0)
        if not self.training:
            return codes, indices, torch.zeros((), dtype=torch.float32, device=rows.device)
        loss = self.commitment_weight * commitment_loss(rows, codes, found >= 0)
        replace = rotate_to if self.rotation_trick else straight_through
        return replace(rows, codes), indices, loss

    def _width_last(self, x: Tensor) -> Tensor:
        is_first = x.ndim == 3 and not self.channel_last if self.map_dims is None else True
        expected = (2, 3) if self.map_dims is None else (self.map_dims,)
        vectors = x.movedim(1, -1) if is_first and x.ndim in expected else x
        if not x.is_floating_point():
            raise ValueError(
                f"VectorQuantize: received x of {x.dtype}, expected floating point; convert it"
            )
        if x.ndim not in expected or vectors.shape[-1] != self.dim:
            shapes = {2: "(N, D)", 4: "(B, D, H, W)", 5: "(B, D, L, H, W)"}
            shapes[3] = "(B, N, D)" if self.channel_last else "(B, D, N)"
            wanted = " or ".join(shapes[number] for number in expected)
            raise ValueError(
                f"VectorQuantize: received x {tuple(x.shape)}, expected {wanted} with D = "
                f"{self.dim}; see channel_last, accept_image_fmap and accept_3d_fmap"
            )
        return vectors

    def _flat_mask(self, mask: Tensor | None, x: Tensor, vectors: Tensor) -> Tensor | None:
        if mask is None:
            return None
        if x.ndim != 3 or mask.shape != vectors.shape[:2] or mask.dtype != torch.bool:
            raise ValueError(
                f"VectorQuantize: received a mask {tuple(mask.shape)} of {mask.dtype} for x "
                f"{tuple(x.shape)}, expected (B, N) of torch.bool for x of three dimensions"
            )
        return mask.reshape(-1)
