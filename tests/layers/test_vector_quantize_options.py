"""Which options of vector-quantize-pytorch are taken, and what others are told."""

import inspect
from typing import Any

import pytest
import torch
from vector_quantize_pytorch import VectorQuantize as Theirs

import vlp_fast
from vlp_fast.layers.vector_quantize_options import IDLE, ONLY, ONLY_IN_CALLS

DIM, CODES = 12, 16
OURS = vlp_fast.VectorQuantize


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
    with pytest.raises(ValueError, match=r"VectorQuantize: received x of torch.int64, expected fl"):
        layer(torch.ones(3, DIM, dtype=torch.long))
    with pytest.raises(ValueError, match=r"received indices=a tensor \(3,\), expected None"):
        layer(torch.randn(3, DIM), indices=torch.ones(3, dtype=torch.long))
    with pytest.raises(ValueError, match="received vq_bridge=a Linear, expected None"):
        vlp_fast.VectorQuantize(DIM, CODES, vq_bridge=torch.nn.Linear(2, 2))
    for options, words in (
        ({"decay": 1.5}, "decay 1.5, expected 0 to 1"),
        ({"eps": -1e-3}, "eps -0.001, expected 0 or more"),
        ({"codebook_size": 0}, "0 codes of width 12"),
    ):
        with pytest.raises(ValueError, match=words):
            vlp_fast.VectorQuantize(**{"dim": DIM, "codebook_size": CODES, **options})


def test_what_the_packages_layer_tells_about_itself() -> None:
    theirs, ours = (make(DIM, CODES) for make in (Theirs, vlp_fast.VectorQuantize))
    for name in ("has_projections", "heads", "ema_update", "learnable_codebook", "use_cosine_sim"):
        assert getattr(ours, name) == getattr(theirs, name), name
    x = torch.randn(3, DIM)
    assert torch.equal(ours.project_out(ours.project_in(x)), x)


def test_a_codebook_of_one_head() -> None:
    layers = [make(DIM, CODES, separate_codebook_per_head=True) for make in (Theirs, OURS)]
    codes = torch.randn(1, CODES, DIM)
    for layer in layers:
        assert layer.codebook.shape == (1, CODES, DIM)
        layer.codebook = codes
        assert torch.equal(layer.codebook, codes)
    ours = layers[1].eval()
    assert torch.equal(ours.get_codes_from_indices(ours(codes)[1]), codes)


@pytest.mark.parametrize("training", [True, False])
def test_codes_expire_when_told(training: bool) -> None:
    x = torch.randn(1, 40, DIM)
    for make in (Theirs, OURS):
        layer = make(DIM, CODES, threshold_ema_dead_code=2).train(training)
        layer._codebook.cluster_size[0, ::2] = 5
        before = layer.codebook.clone()
        layer.expire_codes_(x)
        is_row = (layer.codebook[:, None] == x[0]).all(-1).any(1)
        assert is_row.tolist() == [training and code % 2 == 1 for code in range(CODES)]
        assert torch.equal(layer.codebook[::2], before[::2])
        assert (layer._codebook.cluster_size[0, 1::2] == (2 if training else 1)).all()


def test_no_smoothing_at_all() -> None:
    layers = [make(DIM, CODES, eps=0.0) for make in (Theirs, OURS)]
    codes = torch.randn(CODES, DIM)
    for layer in layers:
        layer.codebook = codes
        layer._codebook.embed_avg.copy_(codes)
    for _ in range(5):
        x = torch.randn(30, DIM)
        for layer in layers:
            layer(x)
        torch.testing.assert_close(layers[1].codebook, layers[0].codebook, rtol=1e-4, atol=1e-5)
    assert OURS(DIM, CODES, eps=0.0, decay=0.0)(x)[0].isfinite().all()
