"""Linear layers with positions against float64, values and gradients, on every backend."""

import pytest
import torch
import torch.nn.functional as F
from compiled import same_compiled
from torch import Tensor

from vlp_fast import ops

F32, BF16, F16, F64 = torch.float32, torch.bfloat16, torch.float16, torch.float64
# Largest difference to float64, in units of the largest value.
TOLERANCE = {F64: 1e-14, F32: 1e-6, BF16: 8e-3, F16: 1e-3}
# Rows, width, outputs, rows of the table, its columns, positions of a row.
SHAPES = [
    (0, 8, 6, 3, 4, 2),
    (1, 4, 4, 1, 4, 1),
    (1, 24, 1, 1, 1, 2),
    (13, 24, 40, 5, 33, 2),
    (67, 40, 70, 7, 70, 2),
    (33, 100, 64, 9, 32, 1),
    (5, 768, 31, 30, 31, 2),
    (7, 1000, 65, 4, 0, 1),
]

pytestmark = pytest.mark.usefixtures("block_backend")


def draw(*shape: int, seed: int, dtype: torch.dtype = F32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64).to(dtype)


def operands(shape: tuple[int, ...], dtype: torch.dtype = F32) -> tuple[list[Tensor], Tensor]:
    """x, weight, bias and table; and indices, some of them -1."""
    rows, width, features, table_rows, positioned, positions = shape
    shapes = ((rows, width), (features, width), (features,), (table_rows, positioned))
    tensors = [draw(*size, seed=s, dtype=dtype) for s, size in enumerate(shapes)]
    generator = torch.Generator().manual_seed(4)
    indices = torch.randint(-1, table_rows, (rows, positions), generator=generator)
    return tensors, indices.int()


def exact(x, weight, bias, table, indices) -> Tensor:
    """The formula of the docstring in float64, one row after the other."""
    x, weight, bias, table = (tensor.double() for tensor in (x, weight, bias, table))
    rows = []
    for row, places in zip(x, indices.tolist(), strict=True):
        out = weight @ row + bias
        for place in places:
            if place >= 0:
                out = out + F.pad(table[place], (0, len(bias) - table.shape[1]))
        rows.append(out)
    return torch.stack(rows) if rows else x @ weight.T + bias


def torch_linear(x, weight, bias, table, indices) -> Tensor:
    """What there is without this operator: an addition behind the linear layer."""
    out = F.linear(x, weight, bias)
    for index in indices.unbind(1):
        added = table[index.clamp(min=0)] * (index >= 0)[:, None]
        out = out + F.pad(added, (0, out.shape[1] - added.shape[1]))
    return out


def output_and_gradients(function, inputs, indices, upstream) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = function(*leaves, indices)
    grads = torch.autograd.grad(out, leaves, upstream.to(out.dtype), allow_unused=True)
    zeros = (torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True))
    return [out.detach(), *zeros]


def compare(inputs: list[Tensor], indices: Tensor) -> None:
    dtype = inputs[0].dtype
    upstream = draw(len(indices), len(inputs[1]), seed=7, dtype=dtype)
    found = output_and_gradients(ops.linear_with_positions, inputs, indices, upstream)
    wide = [x.double() for x in inputs]
    expected = output_and_gradients(exact, wide, indices, upstream)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        within = TOLERANCE[dtype] * max(1.0, b.abs().max().item()) if b.numel() else 0.0
        torch.testing.assert_close(a.double(), b, rtol=0, atol=within)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_shape_and_dtype(shape, dtype) -> None:
    compare(*operands(shape, dtype))


@pytest.mark.parametrize("dtype", [F32, BF16, F16], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_error_is_at_most_twice_that_of_torch(dtype, scale) -> None:
    inputs, indices = operands((40, 256, 64, 20, 33, 2), dtype)
    scale = min(scale, 1e3) if dtype == F16 else scale
    inputs[0] *= scale
    upstream = draw(40, 64, seed=7, dtype=dtype)
    ours = output_and_gradients(ops.linear_with_positions, inputs, indices, upstream)
    theirs = output_and_gradients(torch_linear, inputs, indices, upstream)
    truth = output_and_gradients(exact, [x.double() for x in inputs], indices, upstream)
    for a, b, c in zip(ours, theirs, truth, strict=True):
        errors = [(x.double() - c).square().mean().sqrt().item() for x in (a, b)]
        assert errors[0] <= 2 * errors[1]


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_positions_added_to_rows_are_positions_projected(dtype) -> None:
    x, weight, bias = (draw(*s, seed=len(s), dtype=dtype) for s in ((12, 16), (24, 16), (24,)))
    rows, columns = torch.arange(12) // 4, torch.arange(12) % 4
    of_row, of_column = draw(3, 16, seed=5, dtype=dtype), draw(4, 16, seed=6, dtype=dtype)
    expected = F.linear(x + of_row[rows] + of_column[columns], weight, bias)
    table = F.linear(torch.cat((of_row, of_column)), weight)
    indices = torch.stack((rows, 3 + columns), 1).int()
    found = ops.linear_with_positions(x, weight, bias, table, indices)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_text_alone_is_a_linear_layer() -> None:
    inputs, indices = operands((13, 24, 40, 5, 33, 2))
    indices.fill_(-1)
    inputs[3].fill_(torch.nan)
    upstream = draw(13, 40, seed=7)
    found = output_and_gradients(ops.linear_with_positions, inputs, indices, upstream)
    linear = lambda x, weight, bias, *_: F.linear(x, weight, bias)
    expected = output_and_gradients(linear, inputs, indices, upstream)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[4], torch.zeros(5, 33))


def test_no_table_at_all() -> None:
    inputs, indices = operands((6, 8, 12, 3, 4, 2))
    inputs[3] = inputs[3][:0]
    compare(inputs, torch.full_like(indices, -1))


def test_an_index_may_come_twice() -> None:
    inputs, _ = operands((3, 8, 12, 2, 12, 2))
    compare(inputs, torch.tensor([[1, 1], [0, 0], [1, 0]], dtype=torch.int32))


def test_indices_beyond_the_table(block_backend) -> None:
    """The definition refuses them; programs, which cannot, read nothing there."""
    (x, weight, bias, table), indices = operands((13, 24, 40, 5, 33, 2))
    held = torch.full((9, 33), torch.nan)
    held[:5] = table
    beyond = indices.masked_fill(indices < 0, 5)
    if block_backend == "reference":
        with pytest.raises(IndexError):
            ops.linear_with_positions(x, weight, bias, held[:5], beyond)
    else:
        found = ops.linear_with_positions(x, weight, bias, held[:5], beyond)
        assert torch.equal(found, ops.linear_with_positions(x, weight, bias, table, indices))


@pytest.mark.parametrize("place", [0, 3])
def test_a_nan_stays_in_its_row(place) -> None:
    inputs, indices = operands((9, 24, 40, 3, 33, 1))
    indices[:, 0] = torch.arange(9) % 3
    upstream = draw(9, 40, seed=7)
    clean, _, _, _, clean_table = output_and_gradients(
        ops.linear_with_positions, inputs, indices, upstream
    )
    inputs[place][1] = torch.nan
    found = ops.linear_with_positions(*inputs, indices)
    hit = torch.arange(9) == 1 if place == 0 else indices[:, 0] == 1
    assert torch.equal(found[~hit], clean[~hit])
    assert found[hit][:, :33].isnan().all()
    upstream[1, :33] = torch.nan
    *_, table = output_and_gradients(ops.linear_with_positions, inputs, indices, upstream)
    assert table[1].isnan().all()
    assert torch.equal(table[[0, 2]], clean_table[[0, 2]])


def scattered(tensor: Tensor) -> Tensor:
    """The same numbers, transposed in memory and with gaps."""
    wider = torch.full([2 * size for size in tensor.shape[::-1]], torch.nan)
    view = wider.permute(*range(tensor.ndim)[::-1])[(slice(None, None, 2),) * tensor.ndim]
    return view.copy_(tensor)


def test_memory_with_gaps_and_expanded_tensors() -> None:
    inputs, indices = operands((11, 24, 40, 5, 33, 2))
    inputs[0] = inputs[0][:1].expand(11, 24)
    expected = ops.linear_with_positions(*(x.contiguous() for x in inputs), indices)
    assert torch.equal(ops.linear_with_positions(*inputs, indices), expected)
    gapped = [scattered(x) for x in inputs]
    apart = torch.full((2, 22), 99, dtype=torch.int32).T[::2].copy_(indices)
    assert torch.equal(ops.linear_with_positions(*gapped, apart), expected)
    leaves = [x.requires_grad_() for x in inputs]
    results = []
    for upstream in (torch.ones(11, 40), torch.ones(()).expand(11, 40)):
        out = ops.linear_with_positions(*leaves, indices)
        results.append(torch.autograd.grad(out, leaves, upstream))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (3,), (1, 2), (0, 1, 2)])
def test_only_what_is_wanted_gets_a_gradient(frozen) -> None:
    inputs, indices = operands((13, 24, 40, 5, 33, 2))
    upstream = draw(13, 40, seed=7)
    _, *every = output_and_gradients(ops.linear_with_positions, inputs, indices, upstream)
    leaves = [x.requires_grad_(place not in frozen) for place, x in enumerate(inputs)]
    ops.linear_with_positions(*leaves, indices).backward(upstream)
    for place, (leaf, grad) in enumerate(zip(leaves, every, strict=True)):
        assert leaf.grad is None if place in frozen else torch.equal(leaf.grad, grad)


def test_the_same_bits_in_every_run() -> None:
    inputs, indices = operands((700, 24, 40, 5, 33, 2))
    upstream = draw(700, 40, seed=7)
    runs = [
        output_and_gradients(ops.linear_with_positions, inputs, indices, upstream) for _ in range(2)
    ]
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)


def test_gradcheck() -> None:
    inputs, indices = operands((5, 3, 4, 3, 2, 2), F64)
    leaves = [x.requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(
        lambda *leaves: ops.linear_with_positions(*leaves, indices), leaves
    )


def test_autocast_casts_operands() -> None:
    inputs, indices = operands((13, 24, 40, 5, 33, 2))
    leaves = [x.requires_grad_() for x in inputs]
    with torch.autocast("cpu", dtype=BF16):
        out = ops.linear_with_positions(leaves[0].bfloat16(), *leaves[1:], indices)
    assert out.dtype == BF16
    narrow = [x.detach().bfloat16() for x in inputs]
    assert torch.equal(out, ops.linear_with_positions(*narrow, indices))
    out.sum().backward()
    assert {x.grad.dtype for x in leaves} == {F32}


@pytest.mark.parametrize("is_autocast", [False, True])
def test_compiled(is_autocast) -> None:
    (x, weight, bias, _), indices = operands((13, 24, 40, 5, 33, 2))

    def function(x: Tensor, weight: Tensor, bias: Tensor, positions: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=BF16, enabled=is_autocast):
            table = F.linear(positions, weight[:33])
            return ops.linear_with_positions(x, weight, bias, table, indices)

    same_compiled(function, x, weight, bias, draw(5, 24, seed=8))


def test_wrong_input_is_refused() -> None:
    (x, weight, bias, table), indices = operands((6, 8, 12, 3, 4, 2))
    call = ops.linear_with_positions
    with pytest.raises(ValueError, match=r"received x \(6, 7\) and weight \(12, 8\), expected"):
        call(x[:, :7], weight, bias, table, indices)
    with pytest.raises(ValueError, match=r"received bias \(11,\), expected \(12,\)"):
        call(x, weight, bias[:11], table, indices)
    with pytest.raises(ValueError, match=r"table \(3, 13\), expected \(R, G\) with G at most 12"):
        call(x, weight, bias, torch.zeros(3, 13), indices)
    for wrong in (indices[:5], indices[:, 0], torch.zeros(6, 3, dtype=torch.int32)):
        with pytest.raises(ValueError, match=r"expected \(6, 1\) or \(6, 2\)"):
            call(x, weight, bias, table, wrong)
    with pytest.raises(ValueError, match=r"table of torch.bfloat16, expected one dtype; cast"):
        call(x, weight, bias, table.bfloat16(), indices)
    with pytest.raises(ValueError, match=r"indices of torch.int64, expected torch.int32"):
        call(x, weight, bias, table, indices.long())
