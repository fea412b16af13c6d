"""Heads against their formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vlp_fast.layers.heads import BoxHead, ClassHead, MaskedLanguageHead, MatchingHead


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double()


def test_words_are_scored_behind_transform_and_bias() -> None:
    head = randomised(MaskedLanguageHead(8, 13))
    assert head.transform is not None
    hidden = torch.randn(5, 8, dtype=torch.float64)
    words = torch.randn(13, 8, dtype=torch.float64)
    dense, norm = head.transform.dense, head.transform.norm
    activated = F.gelu(hidden @ dense.weight.T + dense.bias)
    normed = F.layer_norm(activated, (8,), norm.weight, norm.bias, 1e-12)
    torch.testing.assert_close(head(hidden, words), normed @ words.T + head.bias)


def test_words_are_scored_without_transform_and_bias() -> None:
    head = MaskedLanguageHead(8, 13, transform=False, bias=False)
    hidden, words = torch.randn(5, 8), torch.randn(13, 8)
    torch.testing.assert_close(head(hidden, words), hidden @ words.T)
    assert list(head.parameters()) == []


def test_the_word_matrix_belongs_to_the_embeddings_but_learns_from_the_head() -> None:
    head = MaskedLanguageHead(8, 13)
    assert all(parameter.shape != (13, 8) for parameter in head.parameters())
    words = nn.Parameter(torch.randn(13, 8))
    head(torch.randn(5, 8), words).square().sum().backward()
    assert words.grad is not None
    assert (words.grad != 0).any(dim=1).all()


def test_matching_has_two_logits_and_the_bias_is_optional() -> None:
    assert MatchingHead(8)(torch.randn(3, 8)).shape == (3, 2)
    assert set(MatchingHead(8, bias=False).state_dict()) == {"weight"}


def test_classes_have_one_logit_for_none_and_start_even() -> None:
    head = ClassHead(8, 5)
    assert head.weight.shape == (6, 8)
    assert (head.bias == 0).all()
    assert head.weight.std() > 0.1


def test_boxes_come_from_three_layers_and_a_sigmoid() -> None:
    head = randomised(BoxHead(8))
    first, second, last = head.layers
    hidden = torch.randn(2, 3, 8, dtype=torch.float64)
    expected = last(F.relu(second(F.relu(first(hidden))))).sigmoid()
    torch.testing.assert_close(head(hidden), expected)
    assert [layer.weight.shape for layer in head.layers] == [(8, 8), (8, 8), (4, 8)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boxes_of_half_precision_are_float32(dtype: torch.dtype) -> None:
    head = BoxHead(8).to(dtype)
    boxes = head(torch.randn(4, 8, dtype=dtype))
    assert boxes.dtype == torch.float32
    assert ((boxes >= 0) & (boxes <= 1)).all()
