"""BERT of transformers over padded batches: its self-attention leaves padding out.

The model would make a mask (S, 1, L, L) of the tokens' mask (S, L), of which a layer could not tell
without a wait whether it hides anything but padding. So the model hands the tokens' mask on, and
its layers understand it.
"""

from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import __version__ as version
from transformers.models.bert.modeling_bert import BertModel, BertSelfAttention

from vlp_fast.swaps.bert_probe import disagreement
from vlp_fast.swaps.padded_attention import attend_within
from vlp_fast.swaps.swap import Change, become, count, in_words, own, undo_all

METHOD = "_create_attention_masks"
"""Of BertModel."""


class PackedBertSelfAttention(BertSelfAttention):
    """BertSelfAttention that takes a mask of tokens; an instance gets this class in place."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends as transformers does; rows of padding are zero under a mask of tokens.

        Args:
            hidden_states: (S, L, D).
            attention_mask: (S, L), 0 on padding; another one goes to the original code.
            past_key_values: goes to the original code.
            kwargs: go to the original code.

        Returns:
            The rows (S, L, D), and weights if the original code gave some.
        """
        if attention_mask is None or attention_mask.dim() != 2:
            original: tuple[Tensor, Tensor | None] = super().forward(  # type: ignore[assignment]
                hidden_states, attention_mask, past_key_values, **kwargs
            )
            return original
        mixed = attend_within(
            hidden_states,
            hidden_states,
            attention_mask == 0,
            self._projected,
            num_heads=self.num_attention_heads,
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        return mixed, None

    def _projected(self, rows: Tensor, _: Tensor | None) -> Tensor:
        # The modules are called: there may be adapters in their places.
        return torch.cat([self.query(rows), self.key(rows), self.value(rows)], dim=1)


class TokenMasks:
    """Stands in an instance of BertModel for the method that makes masks: hands the tokens' on.

    The model keeps its class, by whose name and file transformers writes configurations and finds
    out what an instance can do.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        self.told: Counter[str] = Counter()

    def __call__(
        self,
        attention_mask: Tensor | None,
        encoder_attention_mask: Tensor | None,
        embedding_output: Tensor,
        encoder_hidden_states: Tensor | None,
        past_key_values: Any,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Returns the masks of the tokens, and of another sequence."""
        has_more = encoder_hidden_states is not None or past_key_values is not None
        shape = embedding_output.shape[:2]
        reason = _not_ours(self.model.config, attention_mask, shape, has_more)
        if not reason:
            return attention_mask, None
        count(self.told, reason)
        masks: tuple[Tensor | None, Tensor | None] = type(self.model)._create_attention_masks(
            self.model,
            attention_mask=attention_mask,
            encoder_attention_mask=encoder_attention_mask,
            embedding_output=embedding_output,
            encoder_hidden_states=encoder_hidden_states,
            past_key_values=past_key_values,
        )
        return masks


class BertAttention:
    """Swaps a BertModel with the self-attention of its layers."""

    def knows(self, module: nn.Module) -> bool:
        """Whether it is a BertModel."""
        return isinstance(module, BertModel)

    def refusal(self, module: nn.Module) -> str:
        """Why it is left alone."""
        if METHOD in vars(module):
            return "runs on vlp_fast already"
        if type(module) is not BertModel:
            return "a subclass, whose code may do something else"
        if not hasattr(BertModel, METHOD):
            return f"its masks are made elsewhere in transformers {version}"
        config: Any = module.config
        if config.is_decoder or config.add_cross_attention:
            return "a decoder"
        others = [type(x).__name__ for x in _attentions(module) if type(x) is not BertSelfAttention]
        if others:
            return f"its self-attention is a {others[0]}"
        if reason := _other_implementation(config):
            return reason
        reason = disagreement(config, self.apply)
        return f"{reason} (transformers {version})" if reason else ""

    def apply(self, module: nn.Module) -> Change:
        """Gives the model and its self-attention our classes."""
        attentions = _attentions(module)
        masks = TokenMasks(module)
        undos = [own(module, METHOD, masks)]
        undos += [become(attention, PackedBertSelfAttention) for attention in attentions]
        words = f"packed self-attention in {len(attentions)} layers under a mask of tokens"
        return Change(
            became=words, undo=partial(undo_all, undos), since=lambda: in_words(masks.told)
        )


def _attentions(model: Any) -> list[nn.Module]:
    return [layer.attention.self for layer in model.encoder.layer]


def _not_ours(config: Any, attention_mask: Tensor | None, shape: torch.Size, has_more: bool) -> str:
    """Why a batch goes through the original code; empty if it does not."""
    if attention_mask is None:
        return "no attention_mask"
    if attention_mask.shape != shape:
        return "an attention_mask that is not (S, L)"
    return "another sequence beside it" if has_more else _other_implementation(config)


def _other_implementation(config: Any) -> str:
    """Of weights that are asked for ("eager"), or of kernels that pack by themselves."""
    chosen = config._attn_implementation
    return "" if chosen == "sdpa" else f"attn_implementation is {chosen!r}, not 'sdpa'"
