"""VectorQuantize beside the package whose place it takes: the same numbers step after step."""

import copy
from typing import Any

import pytest
import torch
import vector_quantize_pytorch
from torch import Tensor

import vlp_fast

DIM, CODES = 12, 16
Theirs = vector_quantize_pytorch.VectorQuantize


def pair(**options: Any) -> tuple[Any, Any]:
    """The package's layer and ours, from one seed."""
    torch.manual_seed(3)
    theirs = Theirs(dim=DIM, codebook_size=CODES, **options)
    torch.manual_seed(3)
    return theirs, vlp_fast.VectorQuantize(dim=DIM, codebook_size=CODES, **options)


def spread_codes(*layers: Any, scale: float = 1.0) -> None:
    """Codes as far apart as the vectors, so that all are found, and no two tie."""
    codes = scale * torch.randn(CODES, DIM, generator=torch.Generator().manual_seed(5))
    for layer in layers:
        layer.codebook = codes
        layer._codebook.embed_avg.copy_(codes)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def both(layers: tuple[Any, Any], x: Tensor, **call: Any) -> list[tuple[Tensor, ...]]:
    """Of each: quantised, indices, loss, and the gradient of a function of the first and last."""
    found = []
    for layer in layers:
        mine = x.clone().requires_grad_()
        quantised, indices, loss = layer(mine, **call)
        if layer.training:
            weights = draw(*quantised.shape, seed=9).to(quantised.dtype)
            ((quantised * weights).sum() + 3 * loss).backward()
        found.append((quantised.detach(), indices, loss.detach(), mine.grad))
    return found


def assert_alike(found: list[tuple[Tensor, ...]], **tolerance: float) -> None:
    theirs, ours = found
    assert ours[1].dtype == theirs[1].dtype
    assert torch.equal(ours[1], theirs[1])
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert mine.shape == other.shape
            torch.testing.assert_close(mine, other, **tolerance)


def state(layer: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in layer.state_dict().items()}


def assert_same_state(theirs: Any, ours: Any) -> None:
    expected = state(theirs)
    found = state(ours)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_the_start_is_the_same_bit_for_bit() -> None:
    theirs, ours = pair()
    expected, found = state(theirs), state(ours)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(found[name].dtype == expected[name].dtype for name in expected)


@pytest.mark.parametrize(
    "options",
    [{}, {"rotation_trick": False}, {"decay": 0.4, "eps": 1e-2, "commitment_weight": 0.25}],
    ids=["defaults", "straight through", "other numbers"],
)
def test_twenty_steps_are_the_same(options: dict[str, Any]) -> None:
    layers = pair(**options)
    spread_codes(*layers)
    start = layers[1].codebook.clone()
    for step in range(20):
        found = both(layers, draw(3, 50, DIM, seed=step) + 0.05 * step)
        assert_alike(found, rtol=1e-4, atol=1e-5)
        assert_same_state(*layers)
        assert len(found[1][1].unique()) > CODES // 2
    assert (layers[1].codebook - start).abs().max() > 0.1


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (2, 7, DIM)),
        ({}, (9, DIM)),
        ({"channel_last": False}, (2, DIM, 7)),
        ({"channel_last": False}, (9, DIM)),
        ({"accept_image_fmap": True}, (2, DIM, 3, 5)),
        ({"accept_image_fmap": True, "channel_last": False}, (2, DIM, 3, 5)),
        ({"accept_3d_fmap": True}, (2, DIM, 2, 3, 4)),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_every_layout_of_the_input(
    options: dict[str, Any], shape: tuple[int, ...], training: bool
) -> None:
    layers = pair(**options)
    spread_codes(*layers)
    for layer in layers:
        layer.train(training)
    found = both(layers, draw(*shape))
    assert_alike(found)
    assert_same_state(*layers)
    for layer, (_, indices, _, _) in zip(layers, found, strict=True):
        codes = layer.get_codes_from_indices(indices)
        assert codes.shape == shape
        assert torch.equal(codes, layer.get_output_from_indices(indices))
    assert torch.equal(layers[0].codebook[found[0][1]], layers[0].codebook[found[1][1]])


def test_evaluation_changes_nothing_and_gives_no_gradient() -> None:
    layers = pair()
    spread_codes(*layers)
    before = state(layers[1].eval())
    quantised, indices, loss = layers[1](draw(2, 7, DIM).requires_grad_())
    assert not quantised.requires_grad
    assert (loss.shape, loss.item(), loss.requires_grad) == ((), 0.0, False)
    assert torch.equal(quantised, layers[1].codebook[indices])
    assert all(torch.equal(before[name], value) for name, value in state(layers[1]).items())


@pytest.mark.parametrize("freeze_in", ["constructor", "call"])
def test_a_frozen_codebook(freeze_in: str) -> None:
    layers = pair(freeze_codebook=freeze_in == "constructor")
    spread_codes(*layers)
    before = state(layers[1])
    call = {"freeze_codebook": True} if freeze_in == "call" else {}
    assert_alike(both(layers, draw(2, 7, DIM), **call))
    assert all(torch.equal(before[name], value) for name, value in state(layers[1]).items())
    assert_alike(both(layers, draw(2, 7, DIM), freeze_codebook=False))
    assert_same_state(*layers)
    assert not torch.equal(before["_codebook.embed"], layers[1]._codebook.embed)


@pytest.mark.parametrize("keep_padding", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channel_last", [True, False])
def test_masked_vectors(keep_padding: bool, training: bool, channel_last: bool) -> None:
    layers = pair(
        return_zeros_for_masked_padding=not keep_padding,
        channel_last=channel_last,
        rotation_trick=False,
    )
    spread_codes(*layers)
    for layer in layers:
        layer.train(training)
    mask = torch.arange(30) < torch.tensor([[30], [4], [0]])
    x = draw(3, 30, DIM) if channel_last else draw(3, DIM, 30)
    found = both(layers, x, mask=mask)
    assert_alike(found)
    assert_same_state(*layers)
    assert (found[1][1][~mask] == -1).all()


def test_lengths_are_a_mask() -> None:
    layers = pair()
    spread_codes(*layers)
    lens = torch.tensor([5, 1])
    assert_alike(both(layers, draw(2, 9, DIM), lens=lens))
    mask = torch.arange(9) < lens[:, None]
    by_mask = layers[1].eval()(draw(2, 9, DIM), mask=mask)
    by_lens = layers[1](draw(2, 9, DIM), lens=lens)
    assert all(torch.equal(a, b) for a, b in zip(by_mask, by_lens, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    layers = pair()
    spread_codes(*layers)
    theirs, ours = both(layers, draw(2, 40, DIM).to(dtype))
    assert [part.dtype for part in ours] == [dtype, torch.int64, torch.float32, dtype]
    assert torch.equal(ours[1], theirs[1])
    rough = {"rtol": 3e-2, "atol": 3e-2} if dtype != torch.float64 else {}
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, check_dtype=False, **rough)
    assert_same_state(*layers)


def test_checkpoints_go_both_ways() -> None:
    theirs, ours = pair()
    spread_codes(theirs)
    theirs(draw(2, 40, DIM))
    ours.load_state_dict(theirs.state_dict())
    assert_alike(both((theirs, ours), draw(2, 40, DIM, seed=1)))
    back, _ = pair()
    back.load_state_dict(ours.state_dict())
    assert_alike(both((theirs, back), draw(2, 40, DIM, seed=2)))


def test_no_loss_without_weight() -> None:
    layers = pair(commitment_weight=0.0)
    spread_codes(*layers)
    found = both(layers, draw(2, 9, DIM))
    assert_alike(found)
    assert found[1][2] == 0


def test_tiny_and_opposite_vectors_turn_like_theirs() -> None:
    """A row of zeros, one against its code, and one that is its code."""
    layers = pair()
    codes = torch.zeros(CODES, DIM)
    codes[:, 0] = 100 + torch.arange(CODES)
    codes[0] = torch.eye(DIM)[1]
    for layer in layers:
        layer.codebook = codes
        layer._codebook.embed_avg.copy_(codes)
    x = torch.stack((torch.zeros(DIM), -torch.eye(DIM)[1], torch.eye(DIM)[1], codes[3]))
    theirs, ours = both(layers, x)
    assert torch.equal(ours[1], theirs[1])
    # Around no direction at all theirs divides by the same tiny number.
    torch.testing.assert_close(ours[3], theirs[3], rtol=1e-4, atol=1e-4)
    assert torch.equal(ours[0], codes[ours[1]])  # theirs are off by rounding


# What is different on purpose.


def test_the_search_is_exact_where_float32_is_not() -> None:
    """Far from zero that package's distances are rounded to zero and tie; ours do not."""
    theirs, ours = pair()
    codes = 1000 + 0.01 * torch.arange(CODES)[:, None].expand(CODES, DIM)
    for layer in (theirs.eval(), ours.eval()):
        layer.codebook = codes
    indices = ours(codes)[1]
    assert torch.equal(indices, torch.arange(CODES))
    assert not torch.equal(theirs(codes)[1], indices)


def test_rows_that_are_not_finite_reach_nothing() -> None:
    _, layer = pair()
    spread_codes(layer)
    _, clean = pair()
    clean.load_state_dict(layer.state_dict())
    x = draw(8, DIM)
    spoilt = torch.cat((x, torch.full((1, DIM), float("nan")), torch.full((1, DIM), float("inf"))))
    quantised, indices, loss = layer(spoilt)
    assert torch.equal(indices[:8], clean(x)[1])
    assert quantised[8:].isnan().all()  # which tells it to whoever looks at a loss behind
    assert quantised[:8].isfinite().all()
    assert loss.isfinite()
    assert torch.equal(layer.codebook, clean.codebook)


@pytest.mark.parametrize("rotation_trick", [True, False])
def test_what_lies_under_a_mask_reaches_nothing(rotation_trick: bool) -> None:
    _, layer = pair(rotation_trick=rotation_trick)
    spread_codes(layer)
    x = draw(1, 6, DIM)
    x[0, 4:] = float("nan")
    x.requires_grad_()
    quantised, _, loss = layer(x, mask=torch.arange(6)[None] < 4)
    (quantised.sum() + loss).backward()
    assert loss.isfinite()
    assert (x.grad[0, 4:] == 0).all()
    assert x.grad[0, :4].isfinite().all()
    assert layer.codebook.isfinite().all()


def test_a_mask_of_nothing() -> None:
    _, layer = pair()
    x = draw(1, 6, DIM).requires_grad_()
    before = layer.codebook.clone()
    quantised, indices, loss = layer(x, mask=torch.zeros(1, 6, dtype=torch.bool))
    (quantised.sum() + loss).backward()
    assert (quantised == 0).all()
    assert (indices == -1).all()
    assert loss == 0
    assert (x.grad == 0).all()
    assert before.isfinite().all()
    assert layer.codebook.isfinite().all()


def test_autocast_changes_nothing() -> None:
    layers = pair()[1], pair()[1]
    spread_codes(*layers)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = layers[0](draw(40, DIM))
    fine = layers[1](draw(40, DIM))
    assert all(torch.equal(a, b) for a, b in zip(rough, fine, strict=True))
    assert torch.equal(layers[0].codebook, layers[1].codebook)


def test_codes_that_were_set_are_searched() -> None:
    """What was prepared of the old ones is not used: neither after a copy nor after loading."""
    _, layer = pair()
    x = draw(40, DIM)
    for seed in range(3):
        layer(x)
        codes = draw(CODES, DIM, seed=seed)
        layer.codebook = codes
        nearest = torch.cdist(x.double(), codes.double()).argmin(1)
        assert torch.equal(layer.eval()(x)[1], nearest)
        layer.train()
    copied = copy.deepcopy(layer)
    copied.codebook = x[:CODES]
    assert torch.equal(copied.eval()(x)[1][:CODES], torch.arange(CODES))
    assert not torch.equal(layer.codebook, copied.codebook)


def test_dead_codes_move_onto_rows_of_the_batch() -> None:
    _, layer = pair(threshold_ema_dead_code=2)
    spread_codes(layer)
    with torch.no_grad():
        layer._codebook.embed[0, 1::2] += 1000  # nobody's
        layer._codebook.cluster_size.fill_(10)
        layer._codebook.cluster_size[0, 1::2] = 2.4  # below 2 after one step without rows
    x = draw(8, DIM)  # just enough
    layer(x)
    size = layer._codebook.cluster_size[0]
    assert (size[1::2] == 2).all()
    assert (size[::2] > 2).all()
    row, code = (layer.codebook[1::2] == x[:, None]).all(-1).nonzero(as_tuple=True)
    assert sorted(code.tolist()) == list(range(8))
    assert len(row.unique()) == 8  # a row of its own for each
    torch.testing.assert_close(layer._codebook.embed_avg[0, 1::2], 2 * layer.codebook[1::2])
    assert torch.cdist(layer.codebook[::2], x).min() > 1e-3


def test_more_dead_codes_than_rows() -> None:
    """As in that package, as many as there are rows; masked ones are no rows."""
    layers = pair(threshold_ema_dead_code=2, decay=0.0)
    x, mask = draw(1, 5, DIM), torch.tensor([[True, True, True, False, True]])
    for layer in layers:
        layer(x, mask=mask)
        taken = (layer.codebook[:, None] == x[0]).all(-1).sum(0)
        assert taken.tolist() == [1, 1, 1, 0, 1]
        assert (layer._codebook.cluster_size == 2).sum() == 4


def test_k_means_starts_where_the_vectors_are() -> None:
    centres = 10 * draw(CODES, DIM, seed=1)
    x = (centres[:, None] + 0.01 * draw(CODES, 20, DIM)).flatten(0, 1)
    layers = pair(kmeans_init=True, kmeans_iters=5)
    for layer in layers:
        assert not layer._codebook.initted
        layer(x, freeze_codebook=True)
        assert layer._codebook.initted
        assert layer._codebook.cluster_size.sum() == len(x)
        # Seeds may share a cluster, so that some clusters share a code.
        nearest = torch.cdist(x, layer.codebook).min(1).values.square().mean()
        assert nearest < 0.4 * (x - x.mean(0)).square().sum(1).mean()
    codebook = layers[1]._codebook
    found = codebook.embed_avg / codebook.cluster_size[..., None]
    torch.testing.assert_close(found, codebook.embed)
    before = state(layers[1])
    layers[1].eval()(x + 100)
    assert all(torch.equal(before[name], value) for name, value in state(layers[1]).items())


def test_masked_vectors_do_not_start_a_codebook() -> None:
    _, layer = pair(kmeans_init=True)
    x = draw(2, 40, DIM)
    mask = torch.tensor([[True], [False]]).expand(2, 40)
    layer(x, mask=mask, freeze_codebook=True)
    assert layer._codebook.cluster_size.sum() == 40
    other = pair(kmeans_init=True)[1]
    other(x[:1], freeze_codebook=True)
    assert torch.equal(layer.codebook, other.codebook)
