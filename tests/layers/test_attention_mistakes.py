"""What attention refuses, each mistake with what to do instead."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlp_fast.layers.attention import CrossAttention, GridAttention
from vlp_fast.layers.positions import TablePositions
from vlp_fast.layers.sequences import Spans
from vlp_fast.ops.packing import uniform_packing

WIDTH, S, L = 12, 2, 3
PACKING = uniform_packing(S, L)
NO_PADDING = torch.zeros(S, L, dtype=torch.bool)
TABLE = TablePositions(
    table=torch.zeros(4, WIDTH), indices=torch.zeros(S * L, 2, dtype=torch.int32)
)


def attention() -> GridAttention:
    torch.manual_seed(0)
    return GridAttention(WIDTH, 3)


@pytest.mark.parametrize(
    ("shape", "options", "remedy"),
    [
        ((6, WIDTH), {}, r"without a packing and without a .* x\.unsqueeze\(0\)"),
        ((6, WIDTH), {"key_padding_mask": NO_PADDING}, "pass the packing of these rows"),
        ((6, WIDTH), {"packing": PACKING, "key_padding_mask": NO_PADDING}, "leave the mask out"),
        ((S, L, WIDTH), {"packing": PACKING}, r"with a packing .* pass ops\.pack\(x, packing\)"),
        ((1, S, L, WIDTH), {}, "flatten leading dimensions"),
        ((WIDTH,), {"packing": PACKING}, "flatten leading dimensions"),
    ],
)
def test_arguments_that_are_not_for_one_another(
    shape: tuple[int, ...], options: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(ValueError, match=f"GridAttention: received rows of shape .*{remedy}"):
        attention()(torch.zeros(shape), **options)


@pytest.mark.parametrize(
    "mask",
    [
        torch.zeros(S, L),
        torch.zeros(S, L, dtype=torch.uint8),
        torch.zeros(S, L, dtype=torch.int64),
        NO_PADDING[:1],
        NO_PADDING[0],
        NO_PADDING[:, 0],
        NO_PADDING[:, :-1],
        NO_PADDING.expand(1, S, L),
        torch.zeros(L, S, dtype=torch.bool),
    ],
    ids=lambda mask: f"{tuple(mask.shape)}-{mask.dtype}",
)
def test_masks_that_are_not_bool_for_each_row(mask: Tensor) -> None:
    said = r"expected \(2, 3\) bool, True on padding; pass `mask != 0` .* `mask == -inf`"
    with pytest.raises(ValueError, match=f"GridAttention: received key_padding_mask .*{said}"):
        attention()(torch.zeros(S, L, WIDTH), key_padding_mask=mask)


@pytest.mark.parametrize("shape", [(1, WIDTH), (5, WIDTH), (6, 1), (6, 2, WIDTH), (WIDTH,)])
def test_positions_that_are_not_one_for_each_packed_row(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"positions of shape .*expected \(6, 12\), one for each"):
        attention()(torch.zeros(6, WIDTH), PACKING, positions=torch.zeros(shape))


@pytest.mark.parametrize(("rows", "width"), [(5, WIDTH), (6, 8)])
def test_tables_that_are_not_for_these_rows(rows: int, width: int) -> None:
    indices = torch.zeros(rows, 2, dtype=torch.int32)
    positions = TablePositions(table=torch.zeros(4, width), indices=indices)
    with pytest.raises(ValueError, match=r"expected \(R, 12\) and \(6, M\) for rows \(6, 12\)"):
        attention()(torch.zeros(6, WIDTH), PACKING, positions=positions)


@pytest.mark.parametrize("shape", [(L - 1, WIDTH), (S + 1, L, WIDTH), (L, 1), (S, 1, WIDTH)])
def test_positions_that_are_not_for_padded_rows(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(2, 3, 12\), or \(3, 12\) for all"):
        attention()(torch.zeros(S, L, WIDTH), positions=torch.zeros(shape))


# Where bounds lie on the device, nobody but the host can tell; "meta" has none to look at.
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("rows", [5, 7])
def test_other_rows_than_the_packing_has(rows: int, device: str) -> None:
    layer, packing = attention().to(device), PACKING.to(device)
    with pytest.raises(ValueError, match=f"GridAttention: received {rows} rows, expected 6"):
        layer(torch.zeros(rows, WIDTH, device=device), packing)


def test_other_rows_than_the_sequences_of_a_memory() -> None:
    layer, x, memory = CrossAttention(WIDTH, 3), torch.zeros(6, WIDTH), torch.zeros(4, WIDTH)
    spans = Spans.uniform(S, 2, x.device)
    with pytest.raises(ValueError, match="CrossAttention: received 5 rows, expected 6"):
        layer(x[:5], memory, PACKING, spans)
    with pytest.raises(ValueError, match=r"CrossAttention \(memory\): received 3 rows, expected 4"):
        layer(x, memory[:3], PACKING, spans)


@pytest.mark.parametrize("layer", [GridAttention, CrossAttention])
@pytest.mark.parametrize(
    ("sizes", "options", "said"),
    [
        ((256, 12), {}, "width 256 and 12 heads, which do not divide it; pass head_dim"),
        ((256, 0), {}, "0 heads and head_dim None, expected 1 or more"),
        ((256, 4, 0), {}, "4 heads and head_dim 0, expected 1 or more"),
        ((0, 4), {}, "width 0, 4 heads"),
        ((256, 4), {"dropout": 1.5}, r"dropout 1\.5, expected 0 to below 1"),
        ((256, 4), {"dropout": 1.0}, r"dropout 1\.0, expected 0 to below 1"),
        ((256, 4), {"dropout": -0.1}, r"dropout -0\.1, expected 0 to below 1"),
    ],
)
def test_sizes_and_rates(
    layer: Callable[..., Any], sizes: tuple[int, ...], options: dict[str, float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        layer(*sizes, **options)


def test_a_table_of_positions_for_padded_rows() -> None:
    with pytest.raises(ValueError, match=r"GridAttention: .*pass positions of shape \(S, L, D\)"):
        attention()(torch.zeros(S, L, WIDTH), positions=TABLE)


@pytest.mark.parametrize(
    ("shape", "of_memory", "options", "remedy"),
    [
        ((6, WIDTH), (4, WIDTH), {}, r"pass the packings of both, or unsqueeze\(0\)"),
        ((6, WIDTH), (4, WIDTH), {"sequences": PACKING}, "pass the packings of both"),
        ((S, L, WIDTH), (6, WIDTH), {}, "both packed or both padded"),
        ((S, L, WIDTH), (S + 1, L, WIDTH), {}, "pass as many sequences of both"),
        ((S, L, WIDTH), (S, L, WIDTH), {"memory_sequences": PACKING}, "leave the sequences out"),
        (
            (6, WIDTH),
            (6, WIDTH),
            {
                "sequences": PACKING,
                "memory_sequences": PACKING,
                "query_padding_mask": NO_PADDING,
            },
            "leave the masks out",
        ),
    ],
)
def test_arguments_of_cross_attention_that_are_not_for_one_another(
    shape: tuple[int, ...], of_memory: tuple[int, ...], options: dict[str, Any], remedy: str
) -> None:
    layer = CrossAttention(WIDTH, 3)
    with pytest.raises(ValueError, match=f"CrossAttention: received rows .*{remedy}"):
        layer(torch.zeros(shape), torch.zeros(of_memory), **options)


@pytest.mark.parametrize("name", ["key_padding_mask", "query_padding_mask"])
def test_padding_masks_of_cross_attention(name: str) -> None:
    layer, x = CrossAttention(WIDTH, 3), torch.zeros(S, L, WIDTH)
    with pytest.raises(ValueError, match=f"CrossAttention: received {name} .*expected"):
        layer(x, x, **{name: torch.zeros(S, L)})


@pytest.mark.parametrize("training", [True, False])
def test_inside_of_torchs_transformer_layers_the_error_says_what_to_use(training: bool) -> None:
    """They take [0] of what attention returns; in evaluation they look for a fused path."""
    encoder = nn.TransformerEncoderLayer(WIDTH, 3, 20, batch_first=True)
    encoder.self_attn = GridAttention(WIDTH, 3)
    decoder = nn.TransformerDecoderLayer(WIDTH, 3, 20, batch_first=True)
    decoder.multihead_attn = CrossAttention(WIDTH, 3)
    x, said = torch.randn(S, L, WIDTH), r"Attention: received query, key and value, .*use those of"
    stack = nn.TransformerEncoder(encoder, 2)
    with torch.no_grad():
        for layer, inputs in ((encoder, (x,)), (stack, (x,)), (decoder, (x, x))):
            with pytest.raises(TypeError, match=said):
                layer.train(training)(*inputs)


def test_arguments_that_no_layer_has() -> None:
    x = torch.zeros(S, L, WIDTH)
    with pytest.raises(TypeError, match=r"GridAttention: received need_weights, expected layer\(x"):
        attention()(x, need_weights=False)
    with pytest.raises(TypeError, match="CrossAttention: received query, key and value, attn_mask"):
        CrossAttention(WIDTH, 3)(x, x, x, attn_mask=None)
