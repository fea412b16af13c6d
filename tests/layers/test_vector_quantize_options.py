"""Which options of vector-quantize-pytorch are taken, and what others are told."""

import inspect
from typing import Any

import pytest
import torch
from vector_quantize_pytorch import VectorQuantize as Theirs

import vlp_fast
from vlp_fast.layers.vector_quantize_options import IDLE, ONLY, ONLY_IN_CALLS

DIM, CODES = 12, 16


def test_every_option_of_the_package_is_known() -> None:
    mine = set(inspect.signature(vlp_fast.VectorQuantize.__init__).parameters) - {"others"}
    theirs = inspect.signature(Theirs.__init__).parameters
    assert set(theirs) == mine | ONLY.keys() | IDLE
    for name in mine & theirs.keys():
        own = inspect.signature(vlp_fast.VectorQuantize.__init__).parameters[name]
        assert own.default == theirs[name].default, name
    assert all(theirs[name].default in values for name, values in ONLY.items())
    calls = inspect.signature(Theirs.forward).parameters
    of_call = set(inspect.signature(vlp_fast.VectorQuantize.forward).parameters) - {"others"}
    assert set(calls) == of_call | ONLY_IN_CALLS.keys()
    defaults = {name: theirs[name].default for name in ONLY.keys() | IDLE}
    vlp_fast.VectorQuantize(DIM, CODES, **defaults)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 4}, "received heads=4, expected 1; use vector_quantize_pytorch for it"),
        ({"use_cosine_sim": True}, "received use_cosine_sim=True, expected False"),
        ({"codebook_dim": 7}, "received codebook_dim=7, expected None or 12"),
        ({"learnable_codebook": True}, "received learnable_codebook=True, expected None or False"),
    ],
)
def test_what_is_not_implemented_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        vlp_fast.VectorQuantize(DIM, CODES, **options)


def test_wrong_words_and_shapes_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown argument 'codebok_dim'"):
        vlp_fast.VectorQuantize(DIM, CODES, codebok_dim=3)
    layer = vlp_fast.VectorQuantize(DIM, CODES)
    with pytest.raises(ValueError, match="received topk=2, expected None"):
        layer(torch.randn(3, DIM), topk=2)
    with pytest.raises(ValueError, match=r"received x \(2, 12, 3, 3\), expected \(N, D\) or \(B,"):
        layer(torch.randn(2, DIM, 3, 3))
    with pytest.raises(ValueError, match="with D = 12"):
        layer(torch.randn(2, 5, DIM + 1))
    with pytest.raises(ValueError, match=r"received a mask \(2, 4\)"):
        layer(torch.randn(2, 5, DIM), mask=torch.ones(2, 4, dtype=torch.bool))
    image = vlp_fast.VectorQuantize(DIM, CODES, accept_image_fmap=True)
    with pytest.raises(ValueError, match=r"expected \(B, D, H, W\)"):
        image(torch.randn(2, 5, DIM))
