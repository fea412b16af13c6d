"""A small BERT of transformers, and the SOHO that it fits."""

from dataclasses import replace

import torch
from tiny_soho import PAPER
from torch import Tensor
from transformers import BertConfig, BertForPreTraining

TINY = replace(PAPER, width=24, num_heads=6, ffn_dim=20, vocab_size=40)


def bert(**changed: int) -> BertForPreTraining:
    config = BertConfig(
        vocab_size=40,
        hidden_size=24,
        num_attention_heads=6,
        intermediate_size=20,
        num_hidden_layers=2,
        max_position_embeddings=12,
    )
    config.update(changed)
    model = BertForPreTraining(config).eval()
    with torch.no_grad():  # at their start norms are one and biases zero: nothing would be told
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def state_of(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}
