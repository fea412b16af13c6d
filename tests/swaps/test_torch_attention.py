"""PyTorch's attention and encoders after `accelerate`, beside themselves before it."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlp_fast
from vlp_fast.errors import InputError

WIDTH, HEADS, LENGTH = 16, 4, 7
CLOSE: dict[torch.dtype, dict[str, float]] = {
    torch.float32: {"atol": 2e-5, "rtol": 1e-5},
    torch.float64: {"atol": 1e-12, "rtol": 1e-10},
    torch.bfloat16: {"atol": 0.03, "rtol": 0},  # of the largest value; each side rounds to 8 bits
}
PADDING = {
    "at the end": [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 1]],
    "anywhere": [[1, 0, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0]],
    "none": [[0] * LENGTH] * 3,
}
each_padding = pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING)
each_dtype = pytest.mark.parametrize("dtype", CLOSE, ids=str)


def twins(module: nn.Module, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """The module as it is, with every number drawn anew, and a copy that is accelerated."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    module.to(dtype)
    ours = copy.deepcopy(module)
    vlp_fast.accelerate(ours)
    return module, ours


def assert_same(
    theirs: nn.Module,
    ours: nn.Module,
    call: Callable[[nn.Module, Tensor], Tensor],
    x: Tensor,
    seen: Tensor,
) -> None:
    """Values where `seen` (S, L) is True, and gradients of the rows and all parameters."""
    weights = torch.randn(x.shape, dtype=torch.float64).to(x.dtype) * seen[..., None]
    results = []
    for module in (theirs, ours):
        leaf = x.clone().requires_grad_()
        out = call(module, leaf)
        found = torch.autograd.grad((out * weights).sum(), [leaf, *module.parameters()])
        results.append([out * seen[..., None], *found])
    for expected, found in zip(*results, strict=True):
        scale = expected.abs().max() if x.dtype is torch.bfloat16 else 1.0
        torch.testing.assert_close(found / scale, expected / scale, **CLOSE[x.dtype])


@each_dtype
@each_padding
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("options", [{}, {"bias": False}], ids=str)
def test_self_attention(
    options: dict[str, Any], batch_first: bool, padding: Any, dtype: torch.dtype
) -> None:
    theirs, ours = twins(
        nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first, **options), dtype
    )
    mask = torch.tensor(padding, dtype=torch.bool)

    def call(module: nn.Module, x: Tensor) -> Tensor:
        x = x if batch_first else x.transpose(0, 1)
        out = module(x, x, x, key_padding_mask=mask, need_weights=False)[0]
        return out if batch_first else out.transpose(0, 1)

    assert_same(theirs, ours, call, torch.randn(3, LENGTH, WIDTH, dtype=dtype), ~mask)
    assert not ours.told  # nothing went to PyTorch's code


@each_padding
@pytest.mark.parametrize("batch_first", [True, False])
def test_positions_enter_queries_and_keys_alone(padding: Any, batch_first: bool) -> None:
    theirs, ours = twins(
        nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first), torch.float64
    )
    mask = torch.tensor(padding, dtype=torch.bool)
    positions = torch.randn(3, LENGTH, WIDTH, dtype=torch.float64)

    def call(module: nn.Module, x: Tensor) -> Tensor:
        rows = x + positions
        if not batch_first:
            rows, x = rows.transpose(0, 1), x.transpose(0, 1)
        out = module(rows, rows, x, key_padding_mask=mask, need_weights=False)[0]
        return out if batch_first else out.transpose(0, 1)

    x = torch.randn(3, LENGTH, WIDTH, dtype=torch.float64)
    assert_same(theirs, ours, call, x, ~mask)
    assert not ours.told


@each_dtype
@each_padding
@pytest.mark.parametrize("same_values", [True, False])
def test_a_memory_is_seen_by_every_row(padding: Any, same_values: bool, dtype: torch.dtype) -> None:
    theirs, ours = twins(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), dtype)
    mask = torch.tensor(padding, dtype=torch.bool)
    keys, values = torch.randn(2, 3, LENGTH, WIDTH, dtype=dtype).unbind()

    def call(module: nn.Module, x: Tensor) -> Tensor:
        given = (x, keys, keys if same_values else values)
        return module(*given, key_padding_mask=mask, need_weights=False)[0]

    everywhere = torch.ones(3, 5, dtype=torch.bool)
    assert_same(theirs, ours, call, torch.randn(3, 5, WIDTH, dtype=dtype), everywhere)
    assert not ours.told


def test_rows_of_padding_are_not_read_and_a_row_of_it_alone_is_finite() -> None:
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    nn.init.normal_(module.out_proj.bias)
    vlp_fast.accelerate(module)
    x = torch.randn(2, LENGTH, WIDTH, requires_grad=True)
    mask = torch.zeros(2, LENGTH, dtype=torch.bool)
    mask[0, 2:], mask[1] = True, True
    hidden = x.masked_fill(mask[..., None], torch.nan)
    out = module(hidden, hidden, hidden, key_padding_mask=mask, need_weights=False)[0]
    assert not out[0, 2:].any() and not out[1].any() and out[0, :2].all()
    out.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())
    memory = torch.randn(2, LENGTH, WIDTH)
    across = module(x[:, :3], memory, memory, key_padding_mask=mask, need_weights=False)[0]
    torch.testing.assert_close(across[1], module.out_proj.bias.expand(3, WIDTH))


@each_dtype
@each_padding
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_encoder(batch_first: bool, norm_first: bool, padding: Any, dtype: torch.dtype) -> None:
    layer = nn.TransformerEncoderLayer(
        WIDTH,
        HEADS,
        24,
        dropout=0.0,
        activation="gelu",
        batch_first=batch_first,
        norm_first=norm_first,
    )
    stack = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
    theirs, ours = twins(stack, dtype)
    mask = torch.tensor(padding, dtype=torch.bool)

    def call(module: nn.Module, x: Tensor) -> Tensor:
        out = module(x if batch_first else x.transpose(0, 1), src_key_padding_mask=mask)
        return out if batch_first else out.transpose(0, 1)

    loose = dtype is torch.bfloat16  # two layers and three norms, each rounded to 8 bits
    x = torch.randn(3, LENGTH, WIDTH, dtype=torch.float32 if loose else dtype)
    if loose:
        theirs.float(), ours.float()
        with torch.autocast("cpu", dtype=dtype):
            expected, found = (call(module, x) for module in (theirs, ours))
        torch.testing.assert_close(found[~mask], expected[~mask], atol=0.1, rtol=0.1)
    else:
        assert_same(theirs, ours, call, x, ~mask)
    assert all(not module.told for module in ours.modules() if hasattr(module, "told"))


def test_decoder_attends_to_a_padded_memory() -> None:
    theirs, ours = twins(
        nn.TransformerDecoder(
            nn.TransformerDecoderLayer(WIDTH, HEADS, 24, dropout=0.0, batch_first=True), 2
        ),
        torch.float64,
    )
    memory = torch.randn(3, LENGTH, WIDTH, dtype=torch.float64)
    mask = torch.tensor(PADDING["anywhere"], dtype=torch.bool)
    causal = torch.ones(5, 5).triu(1).bool()

    def call(module: nn.Module, x: Tensor) -> Tensor:
        return module(x, memory, tgt_mask=causal, memory_key_padding_mask=mask)

    x = torch.randn(3, 5, WIDTH, dtype=torch.float64)
    assert_same(theirs, ours, call, x, torch.ones(3, 5, dtype=torch.bool))
    assert not ours.layers[0].multihead_attn.told
    assert ours.layers[0].self_attn.told == {"attn_mask or is_causal": 1}


def test_dropout_drops_as_many_weights_in_training_and_none_in_evaluation() -> None:
    module = nn.MultiheadAttention(1, 1, dropout=0.25, batch_first=True, bias=False)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1)
    vlp_fast.accelerate(module)
    x, mask = torch.ones(64, 64, 1), torch.zeros(64, 64, dtype=torch.bool)
    mask[:, 32:] = True
    out = module(x, x, x, key_padding_mask=mask, need_weights=False)[0][:, :32]
    kept = out * 0.75 * 32  # of 32 weights of 1 / 32 each
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert kept.var().item() == pytest.approx(32 * 0.25 * 0.75, rel=0.2)
    module.eval()
    out = module(x, x, x, key_padding_mask=mask, need_weights=False)[0]
    torch.testing.assert_close(out[:, :32], torch.ones(64, 32, 1))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"need_weights": True, "key_padding_mask": "mask"}, "need_weights=True"),
        ({"need_weights": False}, "no padding mask"),
        ({"need_weights": False, "key_padding_mask": "numbers"}, "a mask of numbers"),
        ({"need_weights": False, "attn_mask": "causal"}, "attn_mask or is_causal"),
    ],
)
def test_other_calls_are_pytorchs_to_the_bit_and_told(options: dict[str, Any], reason: str) -> None:
    theirs, ours = twins(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), torch.float32)
    mask = torch.tensor(PADDING["anywhere"], dtype=torch.bool)
    named = {"mask": mask, "numbers": torch.zeros(3, LENGTH).masked_fill(mask, -torch.inf)}
    named["causal"] = torch.ones(LENGTH, LENGTH).triu(1).bool()
    given = {name: named.get(value, value) for name, value in options.items()}
    x = torch.randn(3, LENGTH, WIDTH)
    for expected, found in zip(theirs(x, x, x, **given), ours(x, x, x, **given), strict=True):
        assert (expected is None and found is None) or torch.equal(expected, found)
    assert ours.told == {reason: 1}


def test_evaluation_without_gradients_stays_pytorchs() -> None:
    theirs, ours = twins(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, 24, batch_first=True), 2),
        torch.float32,
    )
    theirs.eval(), ours.eval()
    x, mask = torch.randn(3, LENGTH, WIDTH), torch.tensor(PADDING["at the end"], dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(theirs(x, src_key_padding_mask=mask), ours(x, src_key_padding_mask=mask))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kdim": 8}, "kdim or vdim"),
        ({"vdim": 8}, "kdim or vdim"),
        ({"add_bias_kv": True}, "add_bias_kv"),
        ({"add_zero_attn": True}, "add_zero_attn"),
    ],
)
def test_what_is_not_known_is_left_and_named(options: dict[str, Any], reason: str) -> None:
    module = nn.ModuleDict({"attention": nn.MultiheadAttention(WIDTH, HEADS, **options)})
    report = vlp_fast.accelerate(module, strict=False)
    assert not report and reason in report.left["attention"]
    assert type(module["attention"]) is nn.MultiheadAttention
    with pytest.raises(InputError, match=rf"attention \(MultiheadAttention\): {reason}"):
        vlp_fast.accelerate(module)


def test_a_layer_with_another_attention_inside_is_left() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 24)
    layer.self_attn = nn.MultiheadAttention(WIDTH, HEADS, add_zero_attn=True)
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    assert not vlp_fast.accelerate(stack, strict=False)

    class Own(nn.MultiheadAttention):
        pass

    assert "subclass" in vlp_fast.accelerate(Own(WIDTH, HEADS), strict=False).left[""]


def test_compiled_layers_are_one_graph_and_the_same() -> None:
    """Two of them: the rows of the second one are no input of the graph."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 24, dropout=0.0, norm_first=True)
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    vlp_fast.accelerate(stack)
    x, mask = torch.randn(LENGTH, 3, WIDTH), torch.tensor(PADDING["anywhere"], dtype=torch.bool)
    compiled = torch.compile(stack, backend="aot_eager", fullgraph=True)
    expected = stack(x, src_key_padding_mask=mask)
    torch.testing.assert_close(compiled(x, src_key_padding_mask=mask), expected)


def test_copies_and_pickles_run_on_ours() -> None:
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    vlp_fast.accelerate(module)
    x, mask = torch.randn(2, 3, WIDTH), torch.tensor([[False, True, False], [False, False, True]])
    expected = module(x, x, x, mask, False)[0]
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(twin) is type(module)
        assert torch.equal(twin(x, x, x, mask, False)[0], expected)


@pytest.mark.parametrize(
    ("rows", "memory", "mask"),
    [
        ((3, LENGTH), (3, LENGTH), (1, LENGTH)),
        ((3, LENGTH), (3, LENGTH), (LENGTH, 3)),
        ((3, 5), (1, LENGTH), (3, LENGTH)),
        ((1, 5), (3, LENGTH), (3, LENGTH)),
    ],
)
def test_shapes_that_disagree_are_refused_as_pytorch_does(
    rows: tuple[int, int], memory: tuple[int, int], mask: tuple[int, int]
) -> None:
    """A mask (1, L), or a memory of one sequence, would be broadcast, and rows be lost."""
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    is_self = rows == memory
    vlp_fast.accelerate(module)
    keys = torch.randn(*memory, WIDTH)
    queries = keys if is_self else torch.randn(*rows, WIDTH)
    is_padding = torch.zeros(mask, dtype=torch.bool)
    with pytest.raises((AssertionError, RuntimeError)):
        module(queries, keys, keys, key_padding_mask=is_padding, need_weights=False)
    assert module.told == {"shapes that disagree": 1}


def test_the_output_projection_is_read_not_called() -> None:
    """PyTorch reads its weight: a hook on it, or what wraps it, must not begin to take part."""
    theirs, ours = twins(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), torch.float32)
    x, mask = torch.randn(3, LENGTH, WIDTH), torch.tensor(PADDING["at the end"], dtype=torch.bool)
    for module in (theirs, ours):
        module.out_proj.register_forward_hook(lambda _, __, out: out + 1)
    expected, found = (m(x, x, x, mask, need_weights=False)[0][~mask] for m in (theirs, ours))
    torch.testing.assert_close(found, expected, **CLOSE[torch.float32])
