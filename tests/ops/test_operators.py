"""Every operator under `opcheck`, and the choice of its backend."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from draws import random, targets
from torch import Tensor

from vlp_fast import ops
from vlp_fast.ops import registry


def attention_arguments(*, causal: bool, dropout_p: float) -> tuple[Any, ...]:
    bounds = torch.tensor([0, 3, 8], dtype=torch.int32)
    q, k, v = (random(8, 2, 4, seed=s) for s in range(3))
    order = torch.tensor([1, 0], dtype=torch.int32) if causal else None
    seed = torch.tensor(3) if dropout_p > 0 else None
    return (q, k, v, bounds, bounds, order, 5, 5, causal, 0.5, dropout_p, seed)


def backward_arguments(*, causal: bool, dropout_p: float) -> tuple[Any, ...]:
    q, k, v, *rest = attention_arguments(causal=causal, dropout_p=dropout_p)
    out, lse = torch.ops.vlp_fast.attention(q, k, v, *rest)
    found = (torch.empty_like(x) for x in (q, k, v))
    return (random(8, 2, 4, seed=5), q, k, v, out, lse, *rest, *found)


def norm_arguments(dropout_p: float) -> tuple[Any, ...]:
    seed = torch.tensor(3) if dropout_p > 0 else None
    rows = random(5, 4).bfloat16(), random(5, 4, seed=1)
    return (*rows, random(4), random(4, seed=2), 1e-5, dropout_p, seed)


def norm_backward_arguments(dropout_p: float) -> tuple[Any, ...]:
    *_, weight, _, _, _, seed = arguments = norm_arguments(dropout_p)
    _, *saved = torch.ops.vlp_fast.residual_norm(*arguments)
    saved.insert(1, weight)
    if dropout_p == 0:
        return (random(5, 4), None, *saved, 0.0, None, None, random(5, 4), None, None)
    found = (torch.empty(5, 4, dtype=torch.bfloat16), *(torch.empty(n) for n in ((5, 4), 4, 4)))
    return (random(5, 4), random(5, 4, seed=3), *saved, dropout_p, seed, *found)


def positions_arguments(dtype: torch.dtype) -> tuple[Any, ...]:
    shapes = ((5, 4), (6, 4), (6,), (3, 2))
    operands = (random(*shape, seed=s).to(dtype) for s, shape in enumerate(shapes))
    return (*operands, torch.tensor([[-1, 2]] * 5, dtype=torch.int32))


def match_arguments(attribute_logits: Tensor | None, class_cost: str) -> tuple[Any, ...]:
    t = targets()
    predictions = (random(2, 3, 4, 5), random(2, 3, 4, 4).sigmoid(), attribute_logits)
    packed = (t.boxes, t.labels, t.attributes, t.cu_targets, t.max_count)
    return (*predictions, *packed, class_cost, [1.0, 5.0, 2.0, 1.0, 0.25, 2.0])


def laplace_arguments() -> tuple[Any, ...]:
    averages = (random(5, 4), random(5, 4, seed=1), torch.ones(5))
    return (*averages, random(5, 4, seed=2), torch.arange(5.0), 0.4, 1e-5)


CALLS: dict[str, list[Callable[[], tuple[Any, ...]]]] = {
    "attention": [
        lambda: attention_arguments(causal=False, dropout_p=0.0),
        lambda: attention_arguments(causal=True, dropout_p=0.3),
    ],
    "attention_backward": [
        lambda: backward_arguments(causal=False, dropout_p=0.0),
        lambda: backward_arguments(causal=True, dropout_p=0.3),
    ],
    "residual_norm": [lambda: norm_arguments(0.0), lambda: norm_arguments(0.3)],
    "residual_norm_backward": [
        lambda: norm_backward_arguments(0.0),
        lambda: norm_backward_arguments(0.3),
    ],
    "linear_with_positions": [
        lambda: positions_arguments(torch.float32),
        lambda: positions_arguments(torch.bfloat16),
    ],
    "sum_by_index": [
        lambda: (random(5, 4), torch.tensor([[0, -1]] * 5, dtype=torch.int32), 3),
        lambda: (random(5, 4).bfloat16(), torch.arange(5, dtype=torch.int32)[:, None], 5),
    ],
    "nearest_code": [
        lambda: (random(9, 4), random(5, 4), None, 0),
        lambda: (random(9, 4), random(5, 4), torch.arange(9) > 3, -1),
    ],
    "gather_codes": [
        lambda: (random(5, 4), torch.arange(9) % 5, torch.bfloat16, None),
        lambda: (random(5, 4), torch.arange(9) % 6 - 1, torch.float32, torch.arange(9) % 6 > 0),
    ],
    "code_statistics": [
        lambda: (random(9, 4), torch.arange(9) % 5, 5, None, True, True),
        lambda: (random(9, 4), torch.arange(9) % 5, 6, torch.arange(9) > 3, False, True),
    ],
    "ema_update": [lambda: (random(5, 4), random(5, 4, seed=1), torch.arange(5.0), 0.9)],
    "laplace_ema_update": [laplace_arguments],
    "match": [
        lambda: match_arguments(None, "focal"),
        lambda: match_arguments(random(2, 3, 4, 3, seed=4), "softmax"),
    ],
    "linear_sum_assignment": [
        lambda: (random(3, 4, 6), None, False),
        lambda: (random(3, 6, 4), torch.tensor([2, 0, 6], dtype=torch.int32), True),
    ],
}


def test_every_operator_is_covered() -> None:
    assert set(CALLS) == set(ops.operators())


@pytest.mark.parametrize(
    ("name", "call"),
    [(name, call) for name, calls in CALLS.items() for call in range(len(calls))],
)
def test_opcheck(name, call) -> None:
    torch.library.opcheck(ops.operators()[name].overload, CALLS[name][call]())


def test_second_derivatives_are_refused() -> None:
    """Of backward passes that autograd does not see through."""
    bounds = torch.tensor([0, 3, 8], dtype=torch.int32)
    x = random(8, 8).double().requires_grad_()
    weight, indices = random(8, 8).double(), torch.zeros(8, 1, dtype=torch.int32)
    heads = x.unflatten(1, (2, 4))
    for out in (
        ops.attention(heads, heads, heads, bounds, bounds, max_seqlen_q=5, max_seqlen_k=5),
        ops.residual_norm(x, x, weight[0], weight[1], eps=1e-5)[0],
        ops.linear_with_positions(x, weight, weight[0], weight, indices),
    ):
        (gradient,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="asked for a second derivative"):
            torch.autograd.grad(gradient.sum(), x)


def test_reference_is_forced_and_reported() -> None:
    assert ops.backend_for("attention", "cpu")[0] in ops.operators()["attention"].backends
    with ops.use("reference"):
        name, reason = ops.backend_for("nearest_code", "cpu")
        assert name == "reference"
        assert "use('reference')" in reason
    assert "use(" not in ops.backend_for("nearest_code", "cpu")[1]


def test_a_missing_backend_is_an_error_that_lists_the_others() -> None:
    x = random(3, 4)
    with ops.use("abacus"), pytest.raises(ValueError, match=r"nearest_code: .*'abacus'.*reference"):
        ops.nearest_code(x, x)
    with pytest.raises(ValueError, match="received operator 'abacus'"):
        ops.backend_for("abacus", "cpu")
    assert ops.nearest_code(x, x).tolist() == [0, 1, 2]


def test_use_nests_and_ends_with_its_block() -> None:
    with pytest.raises(KeyError), ops.use("abacus"):
        with ops.use("reference"):
            assert ops.backend_for("attention", "cpu")[0] == "reference"
        with pytest.raises(ValueError, match="abacus"):
            ops.backend_for("attention", "cpu")
        raise KeyError
    ops.backend_for("attention", "cpu")


def test_a_block_that_ends_takes_its_own_entry_along() -> None:
    """Whatever the order in which blocks of other threads and generators end."""
    usual, first, second = ops.backend_for("attention", "cpu"), ops.use("reference"), None
    first.__enter__()
    second = ops.use("torch")
    second.__enter__()
    first.__exit__(None, None, None)
    assert ops.backend_for("attention", "cpu")[0] == "torch"
    second.__exit__(None, None, None)
    assert ops.backend_for("attention", "cpu") == usual


def test_each_thread_has_its_own_backend_and_one_without_a_block_that_of_the_others() -> None:
    entered, ask, found = threading.Barrier(2), threading.Barrier(2), {}

    def backend() -> str:
        return ops.backend_for("attention", "cpu")[0]

    def other() -> None:
        found["without a block"] = backend()
        with ops.use("torch", ["attention"]):
            entered.wait(10)
            ask.wait(10)
            found["other"] = backend()
            # The caller's, whose block alone is about this operator.
            found["of another operator"] = ops.backend_for("residual_norm", "cpu")[1]

    with ops.use("reference"):
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(10)
        found["this"] = backend()
        ask.wait(10)
        thread.join()
        assert backend() == "reference"
    assert found == {
        "without a block": "reference",
        "this": "reference",
        "other": "torch",
        "of another operator": "asked for by use('reference')",
    }


def test_use_of_some_operators_takes_their_backward_passes_and_no_others() -> None:
    usual = ops.backend_for("nearest_code", "cpu")
    with ops.use("reference", ["attention"]):
        assert ops.backend_for("attention", "cpu")[0] == "reference"
        assert ops.backend_for("attention_backward", "cpu")[0] == "reference"
        assert ops.backend_for("nearest_code", "cpu") == usual
        with ops.use("abacus", ["nearest_code"]):
            assert ops.backend_for("attention", "cpu")[0] == "reference"
            with pytest.raises(ValueError, match="abacus"):
                ops.backend_for("nearest_code", "cpu")
    with pytest.raises(ValueError, match="use: received operator 'abacus'"):
        ops.use("reference", ["abacus"]).__enter__()
    with pytest.raises(TypeError, match=r"'attention', expected \['attention'\]"):
        ops.use("reference", "attention").__enter__()


def test_the_preferred_built_backend_runs_even_in_a_compiled_graph(monkeypatch) -> None:
    op = ops.operators()["nearest_code"]
    seven = lambda x, *_: torch.full((x.shape[0],), 7)
    x = random(3, 4)
    torch._dynamo.reset()
    compiled = torch.compile(ops.nearest_code, fullgraph=True, backend="aot_eager")
    assert compiled(x, x).tolist() == [0, 1, 2]
    first = registry.preferred_backends("cpu", (0, 0))[0]
    monkeypatch.setitem(op.backends, first, seven)
    assert ops.backend_for(op, "cpu") == (first, "preferred on cpu")
    assert compiled(x, x).tolist() == ops.nearest_code(x, x).tolist() == [7, 7, 7]
    with ops.use("reference"):
        assert compiled(x, x).tolist() == [0, 1, 2]


def test_preference_knows_the_capability() -> None:
    assert registry.preferred_backends("cuda", (7, 0))[0] == "cuda"
    assert "triton" not in registry.preferred_backends("cuda", (7, 5))
    assert "triton" in registry.preferred_backends("cuda", (9, 0))
    assert registry.preferred_backends("xpu", (0, 0)) == ("reference",)
    for row in registry.PREFERENCE:
        assert row.backends[-1] == "reference"
