"""lucidrains' VectorQuantize and ResidualVQ after `accelerate`, beside themselves before it."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from vector_quantize_pytorch import ResidualVQ, VectorQuantize

import vlp_fast
from vlp_fast.errors import InputError
from vlp_fast.layers.ema_codebook import EmaCodebook

WIDTH, CODES = 6, 11
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def twins(layer: nn.Module) -> tuple[Any, Any]:
    """With codes as far apart as the vectors; the second one is accelerated."""
    for module in layer.modules():
        if isinstance(module, VectorQuantize):
            module._codebook.embed.normal_()
            module._codebook.embed_avg.copy_(module._codebook.embed)
    ours = copy.deepcopy(layer)
    vlp_fast.accelerate(ours)
    return layer, ours


def assert_same_step(theirs: Any, ours: Any, x: Tensor, **call: Any) -> None:
    """Results, the gradient of x and the state afterwards."""
    weights = torch.randn_like(x)
    found = []
    for layer in (theirs, ours):
        leaf = x.clone().requires_grad_()
        quantised, indices, loss = layer(leaf, **call)
        gradient = torch.zeros(())
        if layer.training:
            (gradient,) = torch.autograd.grad((quantised * weights).sum() + loss.sum(), leaf)
        found.append([quantised, indices, loss, gradient, *layer.state_dict().values()])
    for expected, mine in zip(*found, strict=True):
        torch.testing.assert_close(mine, expected, **CLOSE)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rotation_trick": False, "decay": 0.5, "eps": 1e-3, "commitment_weight": 0.25},
        {"freeze_codebook": True},
        {"accept_image_fmap": True},
        {"channel_last": False},
    ],
    ids=str,
)
def test_twenty_steps(options: dict[str, Any]) -> None:
    theirs, ours = twins(VectorQuantize(dim=WIDTH, codebook_size=CODES, **options))
    shape = (2, 9, WIDTH)
    if "accept_image_fmap" in options:
        shape = (2, WIDTH, 3, 4)
    if "channel_last" in options:
        shape = (2, WIDTH, 9)
    for _ in range(20):
        assert_same_step(theirs, ours, torch.randn(shape))
    theirs.eval(), ours.eval()
    assert_same_step(theirs, ours, torch.randn(shape))
    assert not ours.told


def test_masks() -> None:
    theirs, ours = twins(VectorQuantize(dim=WIDTH, codebook_size=CODES))
    mask = torch.rand(2, 9) > 0.4
    for given in ({"mask": mask}, {"lens": torch.tensor([4, 9])}, {"freeze_codebook": True}):
        assert_same_step(theirs, ours, torch.randn(2, 9, WIDTH), **given)


@pytest.mark.parametrize("options", [{}, {"quantize_dropout": True}], ids=str)
def test_residual(options: dict[str, Any]) -> None:
    layer = ResidualVQ(dim=WIDTH, num_quantizers=3, codebook_size=CODES, **options)
    theirs, ours = twins(layer)
    shape = (2, 9, WIDTH)
    seed = {"rand_quantize_dropout_fixed_seed": 4} if "quantize_dropout" in options else {}
    for _ in range(5):
        assert_same_step(theirs, ours, torch.randn(shape), **seed)
    indices = ours.eval()(torch.randn(shape))[1]
    if not options:
        torch.testing.assert_close(
            ours.get_output_from_indices(indices), theirs.get_output_from_indices(indices), **CLOSE
        )
    assert all(not layer.told for layer in ours.layers)


def test_beams_of_a_residual_go_to_the_original_code() -> None:
    layer = ResidualVQ(dim=WIDTH, num_quantizers=3, codebook_size=CODES, beam_size=2)
    theirs, ours = twins(layer)
    for _ in range(3):
        assert_same_step(theirs, ours, torch.randn(2, 9, WIDTH))
    assert ours.layers[0].told == {"topk=": 3}


def test_calls_of_other_kinds_are_the_originals_and_told() -> None:
    layer = VectorQuantize(dim=WIDTH, codebook_size=CODES)
    theirs, ours = twins(layer)
    report = vlp_fast.accelerate(ours, strict=False)
    assert "already" in report.left[""]
    x, indices = torch.randn(2, 9, WIDTH), torch.randint(CODES, (2, 9))
    for expected, found in zip(theirs(x, indices), ours(x, indices), strict=True):
        assert torch.equal(expected, found)
    theirs(x, return_loss_breakdown=True), ours(x, return_loss_breakdown=True)
    assert ours.told == {"indices=": 1, "return_loss_breakdown=": 1}
    assert_same_step(theirs, ours, x)
    codes = ours.eval().codebook.clone()
    ours(x, topk=2)
    assert torch.equal(ours.codebook, codes)  # evaluation reaches the original code too


def test_dead_codes_move_onto_rows_of_the_batch() -> None:
    layer = VectorQuantize(dim=WIDTH, codebook_size=CODES, threshold_ema_dead_code=2)
    ours = twins(layer)[1]
    ours._codebook.embed[0, 0] = 100
    ours._codebook.embed_avg[0, 0] = 100
    ours._codebook.cluster_size[0, 0] = 1
    x = torch.randn(1, 500, WIDTH)
    ours(x)
    assert (x[0] == ours.codebook[0]).all(1).any() and ours._codebook.cluster_size[0, 0] == 2


def test_the_state_is_the_same_objects_and_restore_goes_on_from_it() -> None:
    layer = VectorQuantize(dim=WIDTH, codebook_size=CODES)
    theirs, ours = copy.deepcopy(layer), layer
    buffers, keys, text = dict(ours.named_buffers()), list(ours.state_dict()), repr(ours)
    rng = torch.get_rng_state()
    report = vlp_fast.accelerate(ours)
    assert torch.equal(torch.get_rng_state(), rng)
    assert list(ours.state_dict()) == keys and isinstance(ours, VectorQuantize)
    assert all(value is buffers[name] for name, value in ours.named_buffers())
    assert "EmaVectorQuantize" in repr(ours) and "by vlp_fast" in repr(ours)
    x = torch.randn(2, 9, WIDTH)
    assert_same_step(theirs, ours, x)
    ours.load_state_dict(theirs.state_dict())
    ours.to(torch.float64).to(torch.float32).eval()
    report.restore()
    assert repr(ours) == text and list(vars(ours)) == list(vars(theirs))
    assert not ours._codebook.training
    for expected, found in zip(theirs.eval()(x), ours(x), strict=True):
        assert torch.equal(expected, found)


def test_copies_and_pickles_run_on_ours() -> None:
    ours = twins(VectorQuantize(dim=WIDTH, codebook_size=CODES))[1].eval()
    x = torch.randn(2, 9, WIDTH)
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(twin) is type(ours) and torch.equal(twin(x)[0], ours(x)[0])
        twin._codebook.embed.zero_()
        assert not twin.original[0].embed.any() and ours._codebook.embed.any()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"heads": 2, "codebook_dim": 3}, "heads is 2"),
        ({"codebook_dim": 3}, "has_projections"),
        ({"use_cosine_sim": True}, "use_cosine_sim"),
        ({"learnable_codebook": True, "ema_update": False}, "learnable_codebook"),
        ({"kmeans_init": True}, "accelerate after the first step"),
        ({"stochastic_sample_codes": True}, "sampled"),
        ({"straight_through": True, "rotation_trick": False}, "sampled"),
        ({"affine_param": True}, "affine_param"),
        ({"orthogonal_reg_weight": 1.0}, "orthogonal|learnable"),
        ({"codebook_diversity_loss_weight": 1.0}, "diversity"),
        ({"manual_ema_update": True}, "manual_ema_update"),
        ({"commitment_use_cross_entropy_loss": True}, "cross_entropy"),
        ({"ema_update": False}, "ema_update"),
        ({"route_gradients_to_input": False}, "route_gradients"),
        ({"commitment_weight": -1.0}, "commitment_weight"),
    ],
)
def test_other_codebooks_are_left_and_named(options: dict[str, Any], reason: str) -> None:
    layer = VectorQuantize(dim=WIDTH, codebook_size=CODES, **options)
    with pytest.raises(InputError, match=rf"VectorQuantize\): .*({reason})"):
        vlp_fast.accelerate(layer)
    assert type(layer) is VectorQuantize


def test_half_precision_and_shared_codebooks_are_left() -> None:
    half = VectorQuantize(dim=WIDTH, codebook_size=CODES).bfloat16()
    assert "not float32" in vlp_fast.accelerate(half, strict=False).left[""]
    shared = ResidualVQ(dim=WIDTH, num_quantizers=2, codebook_size=CODES, shared_codebook=True)
    assert "manual_ema_update" in vlp_fast.accelerate(shared, strict=False).left["layers.0"]


def test_k_means_has_run() -> None:
    layer = VectorQuantize(dim=WIDTH, codebook_size=CODES, kmeans_init=True)
    layer(torch.randn(1, 50, WIDTH))
    theirs, ours = copy.deepcopy(layer), layer
    vlp_fast.accelerate(ours)
    assert_same_step(theirs, ours, torch.randn(1, 50, WIDTH))


def test_a_schedule_of_the_decay_reaches_the_original_code_and_stays_after_restore() -> None:
    theirs = VectorQuantize(dim=WIDTH, codebook_size=CODES)
    theirs._codebook.embed.normal_()
    ours = copy.deepcopy(theirs)
    report = vlp_fast.accelerate(ours)
    for layer in (theirs, ours):
        layer._codebook.decay = 0.3
    x = torch.randn(2, 9, WIDTH)
    theirs(x, return_loss_breakdown=True), ours(x, return_loss_breakdown=True)
    torch.testing.assert_close(ours.codebook, theirs.codebook, **CLOSE)
    report.restore()
    assert ours._codebook.decay == 0.3
    assert_same_step(theirs, ours, x)


def test_rows_of_more_dimensions_are_the_originals() -> None:
    theirs, ours = twins(VectorQuantize(dim=WIDTH, codebook_size=CODES))
    assert_same_step(theirs, ours, torch.randn(1, 2, 9, WIDTH))
    assert ours.told == {"x of 4 dimensions": 1}


def test_a_codebook_with_hooks_is_left() -> None:
    layer = VectorQuantize(dim=WIDTH, codebook_size=CODES)
    layer._codebook.register_forward_hook(lambda *_: None)
    assert "hooks" in vlp_fast.accelerate(layer, strict=False).left[""]


def test_no_step_looks_whether_the_codes_have_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look waits for the device, and breaks a graph that is compiled."""
    ours = twins(VectorQuantize(dim=WIDTH, codebook_size=CODES))[1]
    monkeypatch.setattr(EmaCodebook, "_start_together", lambda *_: pytest.fail("looked"))
    ours(torch.randn(2, 9, WIDTH))
