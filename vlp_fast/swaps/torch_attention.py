"""PyTorch's attention over padded batches: nn.MultiheadAttention and the encoder layers around it.

PyTorch's encoder turns a mask of booleans into numbers that are added to scores, of which nobody
can tell without a wait for the device whether they are a mask. So the encoder and its layers hand
the booleans on, and the attention inside of them leaves the padding out.
"""

from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_fast.swaps.padded_attention import Projection, attend_across, attend_within
from vlp_fast.swaps.swap import Change, become, count, in_words


class PackedMultiheadAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention that leaves padding out; an instance gets this class in place.

    Calls with a `key_padding_mask` of booleans and `need_weights=False` are ours; others go to
    PyTorch's code, and are counted in `told`.
    """

    told: Counter[str]

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends as PyTorch does; where rows attend to themselves, rows of padding are zero.

        Args: those of nn.MultiheadAttention.

        Returns:
            The rows, and the weights if they were asked for.
        """
        has_other_mask = attn_mask is not None or is_causal
        reason = _not_ours(query, key_padding_mask, need_weights, has_other_mask)
        if not reason and key_padding_mask is not None:
            reason = self._other_shapes(query, key, value, key_padding_mask)
        if reason or key_padding_mask is None:
            count(self.told, reason)
            return super().forward(
                query,
                key,
                value,
                key_padding_mask=key_padding_mask,
                need_weights=need_weights,
                attn_mask=attn_mask,
                average_attn_weights=average_attn_weights,
                is_causal=is_causal,
            )
        mixed = self._mixed(query, key, value, key_padding_mask)
        # As PyTorch, which does not call the module: neither its hooks nor what wraps it take part.
        out = F.linear(mixed, self.out_proj.weight, self.out_proj.bias)
        if query is key:  # the bias of the projection is no part of padding either
            out = out.masked_fill(key_padding_mask[..., None], 0.0)
        return (out if self.batch_first else out.transpose(0, 1)), None

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor, is_padding: Tensor) -> Tensor:
        # The same tensors stay the same; `id` would break a graph that is compiled.
        rows = self._batch_first(query)
        keys = rows if key is query else self._batch_first(key)
        values = rows if value is query else keys if value is key else self._batch_first(value)
        assert self.in_proj_weight is not None
        in_proj = Projection(self.in_proj_weight, self.in_proj_bias)
        options: dict[str, Any] = {"num_heads": self.num_heads}
        options["dropout_p"] = self.dropout if self.training else 0.0
        if query is key:
            return attend_within(rows, values, is_padding, in_proj, **options)
        return attend_across(rows, keys, values, is_padding, in_proj, **options)

    def _batch_first(self, x: Tensor) -> Tensor:
        return x if self.batch_first else x.transpose(0, 1)

    def _other_shapes(self, query: Tensor, key: Tensor, value: Tensor, is_padding: Tensor) -> str:
        """Whether shapes disagree: PyTorch says how, here some of them would be broadcast."""
        asked, rows = (self._batch_first(x).shape[:2] for x in (query, key))
        fits = is_padding.shape == rows and value.shape[:2] == key.shape[:2] and asked[0] == rows[0]
        return "" if fits else "shapes that disagree"


class PaddedEncoderLayer(nn.TransformerEncoderLayer):
    """nn.TransformerEncoderLayer that hands its mask of padding on as booleans."""

    told: Counter[str]

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Computes PyTorch's layer; rows of padding hold other numbers than there.

        Args: those of nn.TransformerEncoderLayer.

        Returns:
            Like src.
        """
        has_other_mask = src_mask is not None or is_causal
        reason = _not_ours(src, src_key_padding_mask, False, has_other_mask)
        reason = reason or _fused(self)
        if reason:
            count(self.told, reason)
            return super().forward(
                src,
                src_mask=src_mask,
                src_key_padding_mask=src_key_padding_mask,
                is_causal=is_causal,
            )
        if self.norm_first:
            src = src + self._attended(self.norm1(src), src_key_padding_mask)
            return src + self._ff_block(self.norm2(src))
        src = self.norm1(src + self._attended(src, src_key_padding_mask))
        result: Tensor = self.norm2(src + self._ff_block(src))
        return result

    def _attended(self, x: Tensor, is_padding: Tensor | None) -> Tensor:
        found = self.self_attn(x, x, x, key_padding_mask=is_padding, need_weights=False)[0]
        result: Tensor = self.dropout1(found)
        return result


class PaddedEncoder(nn.TransformerEncoder):
    """nn.TransformerEncoder that hands its mask of padding on as booleans."""

    told: Counter[str]

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Computes PyTorch's encoder; rows of padding hold other numbers than there.

        Args: those of nn.TransformerEncoder.

        Returns:
            Like src.
        """
        has_other_mask = mask is not None or bool(is_causal)
        reason = _not_ours(src, src_key_padding_mask, False, has_other_mask) or _fused(self)
        if reason:
            count(self.told, reason)
            return super().forward(
                src, mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=is_causal
            )
        for layer in self.layers:
            src = layer(src, src_key_padding_mask=src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


class TorchAttention:
    """Swaps nn.MultiheadAttention and the encoder layers that hold it."""

    kinds: tuple[tuple[type[nn.Module], type[nn.Module], str], ...] = (
        (nn.MultiheadAttention, PackedMultiheadAttention, "packed attention under a padding mask"),
        (nn.TransformerEncoderLayer, PaddedEncoderLayer, "hands the padding mask on"),
        (nn.TransformerEncoder, PaddedEncoder, "hands the padding mask on"),
    )

    def knows(self, module: nn.Module) -> bool:
        """Whether it is one of the three, or of a subclass."""
        return isinstance(module, tuple(theirs for theirs, _, _ in self.kinds))

    def refusal(self, module: nn.Module) -> str:
        """Why it is left alone."""
        if isinstance(module, tuple(ours for _, ours, _ in self.kinds)):
            return "runs on vlp_fast already"
        if type(module) not in [theirs for theirs, _, _ in self.kinds]:
            return "a subclass, whose code may do something else"
        if isinstance(module, nn.MultiheadAttention):
            return _refused_attention(module)
        if isinstance(module, nn.TransformerEncoderLayer):
            return _within(module.self_attn, "self_attn")
        assert isinstance(module, nn.TransformerEncoder)
        reasons = [self._of_layer(layer, number) for number, layer in enumerate(module.layers)]
        return next((reason for reason in reasons if reason), "")

    def apply(self, module: nn.Module) -> Change:
        """Gives the instance our class."""
        told: Counter[str] = Counter()
        ours, words = next(
            (ours, words) for theirs, ours, words in self.kinds if type(module) is theirs
        )
        undo = become(module, ours, told=told)
        return Change(became=f"{ours.__name__}: {words}", undo=undo, since=lambda: in_words(told))

    def _of_layer(self, layer: nn.Module, number: int) -> str:
        if isinstance(layer, PaddedEncoderLayer):
            return ""
        if type(layer) is not nn.TransformerEncoderLayer:
            return f"layer {number} is a {type(layer).__name__}"
        return _within(layer.self_attn, f"layers.{number}.self_attn")


NO_PADDING = "no padding mask"


def _not_ours(
    rows: Tensor, is_padding: Tensor | None, need_weights: bool, has_other_mask: bool
) -> str:
    """Why a call goes to PyTorch's code; empty if it does not."""
    if need_weights:
        return "need_weights=True"
    if has_other_mask:
        return "attn_mask or is_causal"
    if rows.is_nested or rows.dim() != 3:
        return "rows without a batch, or nested"
    if is_padding is None:
        return NO_PADDING
    return "" if is_padding.dtype == torch.bool else "a mask of numbers"


def _fused(module: nn.Module) -> str:
    """Whether PyTorch would run its own fused encoder, as it does in evaluation."""
    if module.training or torch.is_grad_enabled() or torch.is_autocast_enabled():
        return ""
    return "evaluation without gradients, which PyTorch fuses itself"


def _refused_attention(module: nn.MultiheadAttention) -> str:
    if not module._qkv_same_embed_dim or module.in_proj_weight is None:
        return "kdim or vdim is not embed_dim"
    if module.bias_k is not None or module.bias_v is not None:
        return "add_bias_kv"
    return "add_zero_attn" if module.add_zero_attn else ""


def _within(attention: nn.Module, name: str) -> str:
    """Why the attention inside of a layer keeps the layer from being swapped."""
    if isinstance(attention, PackedMultiheadAttention):
        return ""
    if type(attention) is not nn.MultiheadAttention:
        return f"its {name} is a {type(attention).__name__}"
    reason = _refused_attention(attention)
    return f"its {name} has {reason}" if reason else ""
