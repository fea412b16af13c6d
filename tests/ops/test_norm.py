"""Residual, dropout and layer norm against float64, values and gradients, on every backend."""

import importlib

import pytest
import torch
import torch.nn.functional as F
from compiled import same_compiled
from torch import Tensor

from vlp_fast import ops

F32, BF16, F16, F64 = torch.float32, torch.bfloat16, torch.float16, torch.float64
# Of x and of the stream.
DTYPES = [(F32, F32), (BF16, F32), (F16, F32), (BF16, BF16), (F16, F16), (F64, F64), (F32, F64)]
# Largest difference to float64, in units of the largest value.
TOLERANCE = {F64: 1e-13, F32: 2e-6, BF16: 1.5e-2, F16: 2e-3}
EPS = 1e-5

pytestmark = pytest.mark.usefixtures("block_backend")


def draw(*shape: int, seed: int, dtype: torch.dtype = F32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)


def operands(rows: int, width: int, dtypes=(F32, F32)) -> list[Tensor]:
    """x, residual, weight and bias; weights are float32 as a module's, or float64."""
    of_weight = F64 if F64 in dtypes else F32
    x, residual = (draw(rows, width, seed=s, dtype=dtype) for s, dtype in enumerate(dtypes))
    weight, bias = (draw(width, seed=s, dtype=of_weight) for s in (2, 3))
    return [x, residual, weight, bias]


def exact(x, residual, weight, bias, *, factors=1.0) -> tuple[Tensor, Tensor]:
    """The formula of the docstring in float64."""
    x, residual, weight, bias = (tensor.double() for tensor in (x, residual, weight, bias))
    summed = residual + x * factors
    centred = summed - summed.mean(1, keepdim=True)
    deviation = (centred.square().mean(1, keepdim=True) + EPS).sqrt()
    return centred / deviation * weight + bias, summed


def torch_norm(x, residual, weight, bias) -> tuple[Tensor, Tensor]:
    summed = residual + x
    weight, bias = weight.to(summed.dtype), bias.to(summed.dtype)
    return F.layer_norm(summed, weight.shape, weight, bias, EPS), summed


def our_norm(*inputs: Tensor, **options) -> tuple[Tensor, Tensor]:
    return ops.residual_norm(*inputs, eps=EPS, **options)


def outputs_and_gradients(function, inputs, upstream, **options) -> list[Tensor]:
    """normed, summed, and the gradients of all four inputs."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = function(*leaves, **options)
    grads = [grad.to(out.dtype) for grad, out in zip(upstream, outputs, strict=True)]
    return [*(out.detach() for out in outputs), *torch.autograd.grad(outputs, leaves, grads)]


def upstream_of(inputs: list[Tensor]) -> list[Tensor]:
    return [draw(*inputs[0].shape, seed=s, dtype=inputs[1].dtype) for s in (4, 5)]


def compare(inputs: list[Tensor], tolerance: float, *, factors=1.0, **options) -> None:
    upstream = upstream_of(inputs)
    found = outputs_and_gradients(our_norm, inputs, upstream, **options)
    wide = [x.double() for x in inputs]
    expected = outputs_and_gradients(exact, wide, upstream, factors=factors)
    stream = inputs[1].dtype
    dtypes = [stream, stream, *(x.dtype for x in inputs)]
    for a, b, dtype in zip(found, expected, dtypes, strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        within = tolerance * max(1.0, b.abs().max().item()) if b.numel() else 0.0
        torch.testing.assert_close(a.double(), b, rtol=0, atol=within)


@pytest.mark.parametrize("width", [4, 24, 768, 1000])
@pytest.mark.parametrize("rows", [0, 1, 13])
def test_every_shape(rows, width) -> None:
    compare(operands(rows, width), TOLERANCE[F32])


@pytest.mark.parametrize("dtypes", DTYPES, ids=str)
def test_every_dtype(dtypes) -> None:
    compare(operands(7, 24, dtypes), max(TOLERANCE[dtype] for dtype in dtypes))


@pytest.mark.parametrize("dtypes", DTYPES[:5], ids=str)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_error_is_at_most_twice_that_of_torch(dtypes, offset) -> None:
    inputs = operands(37, 768, dtypes)
    inputs[1] = inputs[1] + offset
    upstream = upstream_of(inputs)
    ours = outputs_and_gradients(our_norm, inputs, upstream)
    theirs = outputs_and_gradients(torch_norm, inputs, upstream)
    truth = outputs_and_gradients(exact, [x.double() for x in inputs], upstream)
    for a, b, c in zip(ours, theirs, truth, strict=True):
        errors = [(x.double() - c).square().mean().sqrt().item() for x in (a, b)]
        assert errors[0] <= 2 * errors[1] + 1e-12


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.3e3, 1e4 / 3])
@pytest.mark.parametrize("dtype", [F32, BF16, F64])
@pytest.mark.parametrize("width", [1, 1000])
def test_a_constant_row_is_the_bias(constant, dtype, width) -> None:
    inputs = operands(3, width, (dtype, dtype))
    inputs[0][1], inputs[1][1] = constant / 7, constant
    found = outputs_and_gradients(our_norm, inputs, upstream_of(inputs))
    assert torch.equal(found[0][1], inputs[3].to(dtype))
    grad = upstream_of(inputs)[0][1].double() * inputs[2].double()
    expected = (grad - grad.mean()) / EPS**0.5 + upstream_of(inputs)[1][1].double()
    within = TOLERANCE[dtype] * grad.abs().max().item() / EPS**0.5
    torch.testing.assert_close(found[3][1].double(), expected, rtol=0, atol=within)


@pytest.mark.parametrize("place", [0, 1])
def test_a_nan_stays_in_its_row(place) -> None:
    inputs = operands(9, 24)
    clean = outputs_and_gradients(our_norm, inputs, upstream_of(inputs), dropout_p=0.5, seed=1)
    inputs[place][4] = torch.nan
    found = outputs_and_gradients(our_norm, inputs, upstream_of(inputs), dropout_p=0.5, seed=1)
    others = torch.arange(9) != 4
    for a, b in zip(found[:4], clean[:4], strict=True):
        assert torch.equal(a[others], b[others])
    for a in (found[0], found[2], found[3]):
        assert a[4].isnan().all()
    assert found[1][4].isnan().all()
    assert found[4].isnan().all()


def test_memory_with_gaps_and_expanded_tensors() -> None:
    x, residual, weight, bias = operands(11, 24)
    dense = [x[:1].expand(11, 24), residual, weight, bias]
    gapped = [torch.full((24, 22), torch.nan).T[::2], torch.full((11, 50), torch.nan)[:, 1:25]]
    gapped[0].copy_(x[0].expand(11, 24)), gapped[1].copy_(residual)
    wide = torch.full((48,), torch.nan)[::2].copy_(weight)
    expected = our_norm(*(tensor.contiguous() for tensor in dense))
    for inputs in (dense, [*gapped, wide, bias]):
        for a, b in zip(our_norm(*inputs), expected, strict=True):
            assert torch.equal(a, b)
    results = []
    ones = torch.ones(11, 24)
    strided = torch.full((24, 22), torch.nan).T[::2].copy_(ones)
    for grads in ((ones, ones), (ones.sum().expand(11, 24) / 264, strided)):
        leaves = [tensor.clone().requires_grad_() for tensor in dense]
        results.append(torch.autograd.grad(our_norm(*leaves), leaves, grads))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_gradients_with_gaps_between_rows() -> None:
    inputs = operands(7, 24)
    found = []
    for gap in (0, 5):
        upstream = [F.pad(x, (0, gap))[:, :24] for x in upstream_of(inputs)]
        found.append(outputs_and_gradients(our_norm, inputs, upstream))
    assert all(torch.equal(x, y) for x, y in zip(*found, strict=True))


@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
@pytest.mark.parametrize("output", [0, 1])
def test_one_output_is_enough(output, dropout_p) -> None:
    inputs, upstream = operands(5, 24), upstream_of(operands(5, 24))
    upstream[1 - output].zero_()
    options = {"dropout_p": dropout_p, "seed": 3}
    both = outputs_and_gradients(our_norm, inputs, upstream, **options)[2:]
    leaves = [x.requires_grad_() for x in inputs]
    out = our_norm(*leaves, **options)[output]
    grads = torch.autograd.grad(out, leaves, upstream[output], allow_unused=True)
    for a, b in zip(grads, both, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (3,), (2, 3), (0, 2, 3)])
def test_only_what_is_wanted_gets_a_gradient(frozen) -> None:
    inputs = operands(5, 24, (BF16, F32))
    every = outputs_and_gradients(our_norm, inputs, upstream_of(inputs))[2:]
    leaves = [x.requires_grad_(place not in frozen) for place, x in enumerate(inputs)]
    torch.autograd.backward(our_norm(*leaves), upstream_of(inputs))
    for place, (leaf, grad) in enumerate(zip(leaves, every, strict=True)):
        assert leaf.grad is None if place in frozen else torch.equal(leaf.grad, grad)


def test_one_tensor_may_be_both_inputs() -> None:
    x, _, weight, bias = operands(5, 24)
    x.requires_grad_()
    out = our_norm(x, x, weight, bias)[1]
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.full((5, 24), 2.0))


def test_the_same_bits_in_every_run_and_whatever_the_chunks(monkeypatch) -> None:
    inputs = operands(67, 24, (BF16, F32))
    runs = [
        outputs_and_gradients(our_norm, inputs, upstream_of(inputs), dropout_p=0.3, seed=4)
        for _ in range(2)
    ]
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)
    if "triton" in ops.operators()["residual_norm"].backends:
        module = importlib.import_module("vlp_fast.kernels.norm_backward")
        monkeypatch.setattr(module, "MOST_CHUNKS", 2)
    compare(inputs, TOLERANCE[BF16])


def scalar_hash(seed: int, row: int, column: int) -> int:
    """The int16 of the docstring, one number at a time."""
    h = seed % 2**32
    for counter in (row, column // 2):
        h = (h + counter * 0x9E3779B9) % 2**32
        h = (h ^ (h >> 16)) * 0x85EBCA6B % 2**32
        h = (h ^ (h >> 13)) * 0xC2B2AE35 % 2**32
        h = h ^ (h >> 16)
    half = h >> 16 if column % 2 else h & 0xFFFF
    return half - 2**16 if half >= 2**15 else half


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 3, torch.tensor(2**31 + 5)])
def test_dropout_is_the_documented_hash(seed) -> None:
    rows, width, p = 5, 7, 0.4
    kept = torch.tensor(
        [
            [scalar_hash(int(seed), i, j) >= round(p * 2**16) - 2**15 for j in range(width)]
            for i in range(rows)
        ]
    )
    inputs = operands(rows, width)
    compare(inputs, TOLERANCE[F32], factors=kept / (1 - p), dropout_p=p, seed=seed)
    inputs[1].zero_()
    summed = our_norm(*inputs, dropout_p=p, seed=seed)[1]
    assert torch.equal(summed != 0, kept)


def test_dropout_draws_a_seed_of_the_generator() -> None:
    inputs = operands(20, 30)
    torch.manual_seed(3)
    first, second = (our_norm(*inputs, dropout_p=0.5)[1] for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(our_norm(*inputs, dropout_p=0.5)[1], first)
    assert not torch.equal(first, second)


def test_gradcheck() -> None:
    leaves = [x.requires_grad_() for x in operands(3, 4, (F64, F64))]
    function = lambda *leaves: our_norm(*leaves, dropout_p=0.3, seed=4)
    assert torch.autograd.gradcheck(function, leaves)


def test_autocast_leaves_the_stream_as_it_is() -> None:
    inputs = operands(5, 24, (BF16, F32))
    with torch.autocast("cpu", dtype=BF16):
        normed, summed = our_norm(*inputs)
    assert (normed.dtype, summed.dtype) == (F32, F32)
    for a, b in zip((normed, summed), our_norm(*inputs), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
def test_compiled(dropout_p) -> None:
    """In one graph: either output alone, both, and one tensor as both inputs."""

    def function(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        norm = lambda *inputs: our_norm(*inputs, dropout_p=dropout_p, seed=4)
        normed, summed = norm(x, residual, weight, bias)[0], norm(residual, x, weight, bias)[1]
        return torch.cat([normed, summed, *norm(x, x, weight, bias), *norm(x, 2 * x, weight, bias)])

    same_compiled(function, *operands(5, 24))


def test_compiled_under_autocast() -> None:
    def function(x: Tensor, linear: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=BF16):
            normed, summed = our_norm(x @ linear, x, weight, bias, dropout_p=0.3, seed=4)
        return normed + summed

    x, _, weight, bias = operands(5, 24)
    same_compiled(function, x, draw(24, 24, seed=6), weight, bias)


def test_weights_of_half_precision() -> None:
    inputs = operands(5, 24, (BF16, BF16))
    inputs[2:] = [x.bfloat16() for x in inputs[2:]]
    compare(inputs, TOLERANCE[BF16])


def test_the_widest_rows(block_backend) -> None:
    compare(operands(2, 8192), TOLERANCE[F32])
    inputs = operands(2, 8193)
    if block_backend == "triton":
        with pytest.raises(ValueError, match="rows of 8193 values for Triton, expected at most"):
            our_norm(*inputs)
    else:
        compare(inputs, TOLERANCE[F32])


def test_wrong_input_is_refused() -> None:
    x, residual, weight, bias = operands(4, 6)
    with pytest.raises(ValueError, match=r"residual_norm: received x \(4, 6\), .* expected"):
        our_norm(x, residual[:3], weight, bias)
    with pytest.raises(ValueError, match="flatten leading dimensions"):
        our_norm(x[None], residual[None], weight, bias)
    with pytest.raises(ValueError, match="a narrower one"):
        our_norm(x, residual.bfloat16(), weight, bias)
    with pytest.raises(ValueError, match=r"weight of torch.float32 and bias of torch.float64"):
        our_norm(x, residual, weight, bias.double())
    with pytest.raises(ValueError, match="received dropout_p 1"):
        our_norm(x, residual, weight, bias, dropout_p=1.0)
    with pytest.raises(ValueError, match="received eps 0"):
        ops.residual_norm(x, residual, weight, bias, eps=0)
