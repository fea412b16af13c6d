"""The published SOHO, composed: every picture goes through its neck once a text.

Huang et al. (CVPR 2021), and what is known of the code that was published with it; its switches are
those of `soho_r18_3_official`. torchvision's ResNet with batch norm, stem and first stage still;
maps are repeated for the texts, then pooled, projected, looked up and mixed; texts in front of
cells. The published code computes CNN and layers again in the backward pass (`is_checkpointed`).
B pictures, S texts, L tokens, P cells of a map, D width, K codes.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vlp_fast.models.config import SohoConfig

from . import bert
from .batches import GroupBatch
from .detr import on_map, sine_positions
from .one_hot import OneHotDictionary
from .set_loss import Losses

NO_CODE = -100
STAGES = ("layer1", "layer2", "layer3", "layer4")


class Outputs(NamedTuple):
    """What the model says of a batch."""

    words: Tensor
    """(S, L, V)."""
    matches: Tensor
    """(S, 2)."""
    codes: Tensor
    """(S, P, K), cosines."""
    labels: Tensor
    """(S, P), the code of each hidden cell, `NO_CODE` elsewhere."""


class Gate(nn.Module):
    """Mixes codes with the features in front of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2 * width, 2, 1, bias=False), nn.BatchNorm2d(2)

    def forward(self, codes: Tensor, features: Tensor) -> Tensor:
        """Maps two (S, D, h, w) to (S, D, h, w)."""
        weights = self.norm(self.conv(torch.cat([codes, features], 1))).softmax(1)
        mixed: Tensor = weights[:, :1] * codes + weights[:, 1:] * features
        return mixed


class Soho(nn.Module):
    """The composition; its parameters have the names of ours but for three matrices of a layer."""

    def __init__(self, config: SohoConfig, *, is_checkpointed: bool) -> None:
        super().__init__()
        width = config.width
        self.is_checkpointed = is_checkpointed
        self.backbone = getattr(torchvision.models, f"resnet{config.backbone.depth}")(weights=None)
        channels = self.backbone.fc.in_features
        del self.backbone.fc, self.backbone.avgpool
        self.projection = nn.Conv2d(channels, width, 1, bias=False)
        self.projection_norm = nn.BatchNorm2d(width)
        self.dictionary = OneHotDictionary(config.num_codes, width, config.momentum)
        self.code_projection, self.gate = nn.Linear(width, width), Gate(width)
        self.mask_embedding = nn.Parameter(torch.randn(1, width))
        self.norm = nn.LayerNorm(width)
        words, positions = config.vocab_size, config.max_positions
        self.text_embeddings = bert.TextEmbeddings(words, width, positions, config.dropout)
        sizes = (width, config.num_heads, config.ffn_dim, config.dropout)
        self.encoder = nn.ModuleDict(
            {"layers": nn.ModuleList(bert.Layer(*sizes) for _ in range(config.layers))}
        )
        self.match_head = nn.Linear(width, 2, bias=False)
        for module in self._still:
            module.requires_grad_(False)

    @property
    def _still(self) -> list[nn.Module]:
        return [self.backbone.conv1, self.backbone.bn1, self.backbone.layer1]

    def train(self, mode: bool = True) -> Soho:
        """Switches to training, but for the norms of stem and first stage."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self

    def forward(
        self,
        images: Tensor,
        is_padding: Tensor,
        text_ids: Tensor,
        text_padding: Tensor,
        position: Tensor,
        is_chosen: Tensor,
    ) -> Outputs:
        """What the losses are of; arguments as of `GroupBatch`."""
        texts = len(text_ids) // len(images)
        maps = self._features(images).repeat_interleave(texts, 0)
        features = self.projection_norm(self.projection(functional.max_pool2d(maps, 2)))
        rows = features.permute(0, 2, 3, 1)
        quantised, indices = self.dictionary(rows.flatten(0, 2))
        codes = self.code_projection(quantised).view(rows.shape).permute(0, 3, 1, 2)
        mixed = self.gate(codes, features).flatten(2).transpose(1, 2)
        padding = on_map(is_padding, features).repeat_interleave(texts, 0)
        hidden, labels = _hide(indices.view(len(text_ids), -1), padding, position, is_chosen)
        cells = torch.where(hidden[..., None], self.mask_embedding.to(mixed.dtype), mixed)
        cells = self.norm(cells + sine_positions(padding, cells.shape[2]))
        x = torch.cat([self.text_embeddings(text_ids), cells], 1)
        x = self._encode(x, bert.added_mask(torch.cat([text_padding, padding.flatten(1)], 1)))
        length = text_ids.shape[1]
        table = self.text_embeddings.word_embeddings.weight
        with torch.no_grad():
            directions = functional.normalize(self.dictionary.embed, dim=1)
        cosines = functional.normalize(x[:, length:], dim=2) @ directions.T.to(x.dtype)
        words = functional.linear(x[:, :length], table)
        return Outputs(words, self.match_head(x[:, 0]), cosines, labels)

    def losses(self, outputs: Outputs, batch: GroupBatch) -> Losses:
        """Masked words, masked codes, matching."""
        flat, labels = outputs.codes.flatten(0, 1).float(), outputs.labels.flatten()
        summed = functional.cross_entropy(flat, labels, ignore_index=NO_CODE, reduction="sum")
        return {
            "mlm": bert.word_loss(outputs.words, batch.word_labels),
            "mvm": summed / (labels != NO_CODE).sum().clamp(min=1),
            "itm": functional.cross_entropy(outputs.matches.float(), batch.is_matched),
        }

    def _features(self, images: Tensor) -> Tensor:
        body = self.backbone
        x: Tensor = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        for name in STAGES:
            for block in getattr(body, name):
                x = self._run(block, x)
        return x

    def _encode(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in cast(nn.ModuleList, self.encoder["layers"]):
            x = self._run(layer, x, mask)
        return x

    def _run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        """As it is, or keeping its inputs alone for the backward pass."""
        needs_again = self.is_checkpointed and self.training and torch.is_grad_enabled()
        if needs_again:
            again: Tensor = checkpoint(module, *inputs, use_reentrant=False)
            return again
        x: Tensor = module(*inputs)
        return x


def _hide(
    indices: Tensor, is_padding: Tensor, position: Tensor, is_chosen: Tensor
) -> tuple[Tensor, Tensor]:
    """Which cells (S, P) are hidden, and their codes; `NO_CODE` elsewhere."""
    valid = ~is_padding.flatten(1)
    at = position.expand(len(indices), 1)
    is_used = valid.gather(1, at)[:, 0] & is_chosen
    hidden = (indices == indices.gather(1, at)) & valid & is_used[:, None]
    return hidden, torch.where(hidden, indices, NO_CODE)
