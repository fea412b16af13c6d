"""Whether transformers' BERT is the one whose self-attention is known: a small one is tried.

Versions change code without a change of its names. So a model of the same configuration, but small,
computes a padded batch before and after the swap, on the CPU and without a draw that others notice.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertModel

SMALL = {
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "intermediate_size": 8,
    "vocab_size": 11,
    "pad_token_id": 0,
    "max_position_embeddings": 8,
}
MASK = ((1, 1, 1, 0, 0), (1, 1, 1, 1, 1), (0, 0, 1, 1, 0))
CLOSE = 1e-4


def disagreement(config: Any, apply: Callable[[nn.Module], object]) -> str:
    """Says how a small BERT differs after a swap; empty if it does not.

    Args:
        config: of the model.
        apply: swaps a BertModel.
    """
    try:
        with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.no_grad():
            expected, found = _tried(config, apply)
    except Exception as error:  # whatever foreign code raises is why it is left alone
        first = (str(error).splitlines() or [""])[0]
        return f"a small one raises {type(error).__name__} when tried: {first}"
    if torch.allclose(found, expected, rtol=0.0, atol=CLOSE):
        return ""
    return "its self-attention differs from the one that is known"


def _tried(config: Any, apply: Callable[[nn.Module], object]) -> tuple[Tensor, Tensor]:
    """Rows that are no padding, before and after; weights are large enough that heads differ."""
    small = copy.deepcopy(config)
    for name, value in SMALL.items():
        setattr(small, name, value)
    model: Any = BertModel(small, add_pooling_layer=False)
    model.float().eval()  # whatever the default is
    for parameter in model.parameters():
        parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    mask = torch.tensor(MASK)
    words = torch.arange(mask.numel()).view_as(mask) % small.vocab_size
    seen = mask.bool()
    expected = model(input_ids=words, attention_mask=mask)[0][seen]
    apply(model)
    return expected, model(input_ids=words, attention_mask=mask)[0][seen]
