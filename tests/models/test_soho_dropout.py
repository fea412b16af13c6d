"""Where SOHO drops in training: BERT's places and no others."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_soho import OFFICIAL, PAPER
from torch import Tensor

from vlp_fast.models.config import SohoConfig
from vlp_fast.models.soho import build_soho
from vlp_fast.ops.attention import attention_qkvpacked
from vlp_fast.ops.norm import residual_norm
from vlp_fast.ops.packing import make_packing

CONFIGS = [replace(config, layers=1) for config in (PAPER, OFFICIAL)]


@pytest.mark.parametrize("config", CONFIGS, ids=["paper", "official"])
def test_the_feed_forward_network_drops_nothing(config: SohoConfig) -> None:
    """BERT's layer in training, written out: attention weights and the two residuals are dropped.

    A value at a time is dropped with the same seeds in the same order, so nothing else may be.
    """
    layer = build_soho(replace(config, dropout=0.4)).train().encoder.layers[0]
    packing = make_packing([5, 9], [-1, -1], None)
    x = torch.randn(14, config.width, generator=torch.Generator().manual_seed(3))

    torch.manual_seed(5)
    found = layer(x, packing)
    torch.manual_seed(5)
    attended = F.linear(x, layer.attention.in_proj_weight, layer.attention.in_proj_bias)
    attended = attended.unflatten(1, (3, config.num_heads, -1))
    attended = attention_qkvpacked(attended, packing.cu_seqlens, max_seqlen=9, dropout_p=0.4)
    attended = layer.attention.out_proj(attended.flatten(1))
    normed = drop_and_norm(attended, x, layer.norm1, 0.4)
    fed = layer.ffn.linear2(F.gelu(layer.ffn.linear1(normed)))
    expected = drop_and_norm(fed, normed, layer.norm2, 0.4)

    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, layer(x, packing))


def drop_and_norm(x: Tensor, residual: Tensor, norm: torch.nn.Module, rate: float) -> Tensor:
    return residual_norm(x, residual, norm.weight, norm.bias, eps=norm.eps, dropout_p=rate)[0]
