"""GridAttention and CrossAttention against dense float64 attention, sequence by sequence."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vlp_fast.layers.attention import CrossAttention, GridAttention
from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.positions import TablePositions
from vlp_fast.layers.projections import MultiHeadProjections
from vlp_fast.layers.sequences import Spans
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing, pack, uniform_packing, unpack

WIDTH, HEADS, HEAD_DIM = 12, 3, 5


def dense_attention(
    layer: MultiHeadProjections, q: Tensor, k: Tensor, v: Tensor, causal: bool = False
) -> Tensor:
    """The definition for one sequence: rows q, k (with positions) and v (without), each (n, D)."""
    weights, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    query, key, value = (
        (rows @ weight.T + bias).view(len(rows), HEADS, HEAD_DIM)
        for rows, weight, bias in zip((q, k, v), weights, biases, strict=True)
    )
    scores = torch.einsum("ine,jne->nij", query, key) / HEAD_DIM**0.5
    if causal:
        later = torch.ones(len(q), len(k), dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    mixed = torch.einsum("nij,jne->ine", scores.softmax(-1), value)
    return layer.out_proj(mixed.reshape(len(q), HEADS * HEAD_DIM))


def grid_attention(**options: float) -> GridAttention:
    torch.manual_seed(0)
    layer = GridAttention(WIDTH, HEADS, HEAD_DIM, **options).double()
    for bias in (layer.in_proj_bias, layer.out_proj.bias):
        nn.init.normal_(bias)
    return layer


def random_rows(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize("causal", [False, True])
def test_packed_rows_equal_dense_attention_with_gradients(causal: bool) -> None:
    grid = make_grid([(2, 3), (1, 1)], (4, 3))
    packing = make_packing([4, 0, 1], [0, 1, -1], grid)
    layer = grid_attention()
    x, positions = random_rows(packing.num_rows), random_rows(packing.num_rows, seed=2)
    leaves = [x, positions, *layer.parameters()]

    got = layer(x, packing, positions=positions, causal=causal)
    expected = torch.cat(
        [
            dense_attention(layer, a + p, a + p, a, causal)
            for a, p in zip(x.split(packing.lengths), positions.split(packing.lengths), strict=True)
        ]
    )

    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got)
    torch.testing.assert_close(
        torch.autograd.grad((got * weights).sum(), leaves),
        torch.autograd.grad((expected * weights).sum(), leaves),
    )


def test_a_table_of_positions_equals_its_rows_with_gradients() -> None:
    grid = make_grid([(2, 3), (1, 1), (3, 3)], (4, 3))
    packing = make_packing([4, 0, 1], [0, 1, 2], grid)
    layer, x = grid_attention(), random_rows(packing.num_rows)
    table = random_rows(len(grid.offsets), seed=2)
    positions = TablePositions(table=table, indices=packing.places)
    leaves = [x, table, *layer.parameters()]

    got = layer(x, packing, positions=positions)
    expected = layer(x, packing, positions=positions.rows())

    torch.testing.assert_close(got, expected)
    assert not torch.allclose(got, layer(x, packing))
    weights = torch.randn_like(got)
    torch.testing.assert_close(
        torch.autograd.grad((got * weights).sum(), leaves),
        torch.autograd.grad((expected * weights).sum(), leaves),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_float32_table_serves_modules_of_other_dtypes(dtype: torch.dtype) -> None:
    grid = make_grid([(2, 3), (1, 1)], (4, 3))
    packing = make_packing([4, 1], [0, 1], grid)
    positions = SinePosition(WIDTH).on_rows(grid, packing)
    layer, x = grid_attention(), random_rows(packing.num_rows)
    expected = layer(x, packing, positions=positions.rows())

    got = layer.to(dtype)(x.to(dtype), packing, positions=positions)

    assert got.dtype == dtype
    tolerance = 1e-12 if dtype == torch.float64 else 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(got.double(), expected, atol=tolerance, rtol=tolerance)


def test_float64_modules_stay_float64_under_autocast() -> None:
    grid = make_grid([(2, 3)], (2, 3))
    packing = make_packing([4], [0], grid)
    positions = SinePosition(WIDTH).on_rows(grid, packing)
    layer, x = grid_attention(), random_rows(packing.num_rows)
    expected = layer(x, packing, positions=positions)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x, packing, positions=positions), expected)


def test_cross_attention_equals_dense_attention_with_gradients() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(WIDTH, HEADS, HEAD_DIM).double()
    asking, memory_packing = (
        make_packing([2, 5], [-1, -1], None),
        make_packing([7, 1], [-1] * 2, None),
    )
    x, memory = random_rows(7), random_rows(8, seed=2)
    positions, memory_positions = random_rows(7, seed=3), random_rows(8, seed=4)
    leaves = [x, memory, positions, memory_positions, *layer.parameters()]

    got = layer(
        x,
        memory,
        asking,
        memory_packing,
        query_positions=positions,
        memory_positions=memory_positions,
    )
    expected = torch.cat(
        [
            dense_attention(
                layer, (x + positions)[:2], (memory + memory_positions)[:7], memory[:7]
            ),
            dense_attention(
                layer, (x + positions)[2:], (memory + memory_positions)[7:], memory[7:]
            ),
        ]
    )

    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got)
    torch.testing.assert_close(
        torch.autograd.grad((got * weights).sum(), leaves),
        torch.autograd.grad((expected * weights).sum(), leaves),
    )
    in_order = torch.arange(8, dtype=torch.int32)[:, None]
    tables = layer(
        x,
        memory,
        asking,
        memory_packing,
        query_positions=TablePositions(table=positions, indices=in_order[:7]),
        memory_positions=TablePositions(table=memory_positions, indices=in_order),
    )
    torch.testing.assert_close(tables, expected)


def test_equals_multihead_attention_of_torch() -> None:
    layer = GridAttention(WIDTH, 3).double()
    other = nn.MultiheadAttention(WIDTH, 3, batch_first=True).double()
    for bias in (other.in_proj_bias, other.out_proj.bias):
        nn.init.normal_(bias)
    layer.load_state_dict(other.state_dict())
    x, positions = random_rows(10).view(2, 5, WIDTH), random_rows(10, seed=2).view(2, 5, WIDTH)
    is_padding = torch.zeros(2, 5, dtype=torch.bool)
    is_padding[1, 3:] = True

    got = layer(x, positions=positions, key_padding_mask=is_padding)
    expected = other(x + positions, x + positions, x, key_padding_mask=is_padding)[0]

    torch.testing.assert_close(got[~is_padding], expected[~is_padding])


@pytest.mark.parametrize("queries_are_padded", [False, True])
def test_padded_cross_attention_equals_multihead_attention_of_torch(
    queries_are_padded: bool,
) -> None:
    """Values and gradients, whatever stands on padding, which may lie anywhere."""
    layer, other = CrossAttention(WIDTH, 3).double(), nn.MultiheadAttention(WIDTH, 3).double()
    other.batch_first = True
    nn.init.normal_(other.in_proj_bias)
    layer.load_state_dict(other.state_dict())
    x, p = random_rows(12).view(3, 4, WIDTH), random_rows(12, seed=2).view(3, 4, WIDTH)
    memory, m = random_rows(15, seed=3).view(3, 5, WIDTH), random_rows(5, seed=4)
    of_memory = torch.tensor([[0, 0, 0, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 1, 1]]).bool()
    of_x = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]).bool()
    of_x &= torch.tensor(queries_are_padded)
    padded = [one.detach().masked_fill(of_x[..., None], torch.nan) for one in (x, p)]
    hidden = memory.detach().masked_fill(of_memory[..., None], torch.inf)
    leaves = [leaf.requires_grad_() for leaf in (*padded, hidden)]

    got = layer(
        padded[0],
        hidden,
        query_positions=padded[1],
        memory_positions=m,
        key_padding_mask=of_memory,
        query_padding_mask=of_x if queries_are_padded else None,
    )
    expected = other(x + p, memory + m, memory, key_padding_mask=of_memory)[0]
    expected = expected.masked_fill(of_x[..., None], 0.0)

    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got)
    mine = torch.autograd.grad((got * weights).sum(), [*leaves, *layer.parameters()])
    theirs = torch.autograd.grad((expected * weights).sum(), [x, p, memory, *other.parameters()])
    torch.testing.assert_close(mine, theirs)


def test_padded_cross_attention_without_masks_equals_multihead_attention_of_torch() -> None:
    layer = CrossAttention(WIDTH, 3).double()
    other = nn.MultiheadAttention(WIDTH, 3, batch_first=True).double()
    other.load_state_dict(layer.state_dict())
    x, memory = random_rows(12).view(3, 4, WIDTH), random_rows(15, seed=3).view(3, 5, WIDTH)
    torch.testing.assert_close(layer(x, memory), other(x, memory, memory)[0])


def test_a_memory_of_padding_alone_gives_the_bias() -> None:
    layer = CrossAttention(WIDTH, 3).double()
    nn.init.normal_(layer.out_proj.bias)
    memory = torch.full((1, 5, WIDTH), torch.nan, dtype=torch.float64)
    is_padding = torch.ones(1, 5, dtype=torch.bool)
    out = layer(random_rows(4).view(1, 4, WIDTH), memory, key_padding_mask=is_padding)
    torch.testing.assert_close(out, layer.out_proj.bias.expand_as(out))
    assert all(x.isfinite().all() for x in torch.autograd.grad(out.sum(), [*layer.parameters()]))


@pytest.mark.parametrize(
    "options", [{"bias": False}, {"kdim": 8}, {"vdim": 8}, {"add_bias_kv": True}]
)
def test_other_parameters_do_not_load(options: dict[str, Any]) -> None:
    state = nn.MultiheadAttention(WIDTH, 3, **options).state_dict()
    with pytest.raises(RuntimeError, match="in loading state_dict for GridAttention"):
        GridAttention(WIDTH, 3).load_state_dict(state)


class Products(TorchDispatchMode):
    """Counts products and copies that join them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.names += [name] if name in ("mm", "addmm", "cat") else []
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("project", "launched"), [("queries", ["addmm"]), ("memory", ["addmm", "addmm", "cat"])]
)
def test_queries_with_positions_take_one_product(project: str, launched: list[str]) -> None:
    layer, x, positions = grid_attention(), random_rows(4), random_rows(4, seed=2)
    with Products() as products:
        getattr(layer, f"project_{project}")(x, positions)
    assert products.names == launched


def test_positions_do_not_enter_values() -> None:
    # Alone in its sequence a row attends to itself with weight 1, so only values are seen.
    layer, packing = grid_attention(), uniform_packing(4, 1)
    x = random_rows(4)
    with_positions = layer(x, packing, positions=random_rows(4, seed=2) * 100)
    torch.testing.assert_close(with_positions, layer(x, packing))


def test_padded_rows_equal_packed_rows_wherever_the_padding_lies() -> None:
    layer = grid_attention()
    is_padding = torch.tensor(
        [
            [False, False, False, False, False],
            [True, False, True, False, True],
            [False, False, True, True, True],
            [True, True, True, True, True],
        ]
    )
    lengths = [5, 2, 2]
    padded = random_rows(20).detach().view(4, 5, WIDTH)
    padded_positions = random_rows(20, seed=2).detach().view(4, 5, WIDTH)
    x = padded[~is_padding].requires_grad_()
    positions = padded_positions[~is_padding].requires_grad_()
    # What stands on padding must not matter, not even through NaN times zero.
    padded[is_padding] = torch.nan
    padded_positions[is_padding] = torch.inf
    padded.requires_grad_()
    padded_positions.requires_grad_()

    packed = layer(x, make_packing(lengths, [-1] * 3, None), positions=positions)
    expected_grads = torch.autograd.grad(packed.square().sum(), [x, positions, *layer.parameters()])
    got = layer(padded, positions=padded_positions, key_padding_mask=is_padding)
    got_grads = torch.autograd.grad(
        got.square().sum(), [padded, padded_positions, *layer.parameters()]
    )

    torch.testing.assert_close(got[~is_padding], packed)
    assert (got[is_padding] == 0).all()
    torch.testing.assert_close(got_grads[0][~is_padding], expected_grads[0])
    torch.testing.assert_close(got_grads[1][~is_padding], expected_grads[1])
    torch.testing.assert_close(got_grads[2:], expected_grads[2:])
    assert (got_grads[0][is_padding] == 0).all()


@pytest.mark.parametrize("causal", [False, True])
def test_padded_rows_without_a_mask_equal_packed_rows(causal: bool) -> None:
    layer, packing = grid_attention(), uniform_packing(3, 4)
    x, position = random_rows(12), random_rows(4, seed=2)
    positions = position.repeat(3, 1)
    expected = layer(x, packing, positions=positions, causal=causal)
    got = layer(x.view(3, 4, WIDTH), positions=position, causal=causal)
    torch.testing.assert_close(got.flatten(0, 1), expected)


def test_causal_padded_rows_keep_their_order() -> None:
    layer = grid_attention()
    torch.manual_seed(0)
    is_padding = torch.rand(3, 40) < 0.5
    padded = random_rows(120).view(3, 40, WIDTH)
    lengths = (~is_padding).sum(1).tolist()
    expected = layer(padded[~is_padding], make_packing(lengths, [-1] * 3, None), causal=True)
    got = layer(padded, key_padding_mask=is_padding, causal=True)
    torch.testing.assert_close(got[~is_padding], expected)


def test_padding_behind_equals_unpack() -> None:
    layer, packing = grid_attention(), make_packing([3, 1, 4], [-1] * 3, None)
    padded = unpack(random_rows(8), packing, fill=7.0)
    is_padding = torch.arange(4) >= torch.tensor(packing.lengths)[:, None]
    got = layer(padded, key_padding_mask=is_padding)
    torch.testing.assert_close(got, unpack(layer(pack(padded, packing), packing), packing))


def test_head_dim_does_not_depend_on_width_or_heads() -> None:
    layer = GridAttention(256, 12, 24)
    assert layer.in_proj_weight.shape == (3 * 288, 256)
    assert layer.out_proj.weight.shape == (256, 288)
    assert GridAttention(256, 8).head_dim == 32


def test_dropout_follows_the_seed_and_rests_in_eval() -> None:
    layer, packing = grid_attention(dropout=0.5), uniform_packing(2, 6)
    x = random_rows(12)
    torch.manual_seed(5)
    first, second = layer(x, packing), layer(x, packing)
    torch.manual_seed(5)
    assert torch.equal(first, layer(x, packing))
    assert not torch.equal(first, second)
    layer.eval()
    assert torch.equal(layer(x, packing), layer(x, packing))


def test_uniform_spans() -> None:
    spans = Spans.uniform(3, 4, torch.device("cpu"))
    assert spans.cu_seqlens.tolist() == [0, 4, 8, 12]
    assert spans.cu_seqlens.dtype == torch.int32
    assert [spans.max_length, spans.num_rows] == [4, 12]


def test_padded_rows_come_out_zero_whatever_the_biases() -> None:
    torch.manual_seed(0)
    layer = GridAttention(8, 2)
    for bias in (layer.in_proj_bias, layer.out_proj.bias):
        torch.nn.init.normal_(bias)
    is_padding = torch.tensor([[False, False, True], [False, True, True]])
    out = layer(torch.randn(2, 3, 8), key_padding_mask=is_padding)
    assert torch.equal(out[is_padding], torch.zeros(3, 8))
    assert out[~is_padding].abs().min() > 0
