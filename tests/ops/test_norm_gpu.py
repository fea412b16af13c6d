"""Residual norm and linear layers with positions on a real GPU, by Triton."""

import pytest
import torch
import torch.nn.functional as F
from gpu import compilations, each_backend, in_graph, no_wait
from torch import Tensor

from vlp_fast import ops

pytestmark = pytest.mark.gpu

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
# Of x and of the stream.
DTYPES = [(F32, F32), (BF16, F32), (F16, F32), (BF16, BF16), (F16, F16)]
EPS = 1e-5

backend = each_backend("residual_norm")


def draw(*shape: int, seed: int, dtype: torch.dtype = F32) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(*shape, generator=generator, device="cuda").to(dtype)


def step(function, inputs, upstream, *rest: Tensor, **options) -> list[Tensor]:
    """Outputs, and the gradients of all inputs."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    outputs = function(*leaves, *rest, **options)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    grads = [grad.to(out.dtype) for grad, out in zip(upstream, outputs, strict=True)]
    found = torch.autograd.grad(outputs, leaves, grads)
    return [*(x.detach() for x in outputs), *found]


def assert_at_most_as_far(ours, theirs, truth, times: float = 2) -> None:
    """Root mean square of the error, at most so many times that of the other."""
    for x, peer, y in zip(ours, theirs, truth, strict=True):
        assert x.dtype == peer.dtype
        errors = [(found.double() - y).square().mean().sqrt() for found in (x, peer)]
        assert errors[0] <= times * errors[1] + 1e-12


def norm_inputs(rows: int, width: int, dtypes=(BF16, F32)) -> list[Tensor]:
    """x, residual, weight and bias."""
    x, residual = (draw(rows, width, seed=s, dtype=dtype) for s, dtype in enumerate(dtypes))
    return [x, residual, draw(width, seed=2), draw(width, seed=3)]


def of_norm(inputs: list[Tensor]) -> list[Tensor]:
    """Gradients that come in for both outputs, representable in their dtype."""
    return [draw(*inputs[1].shape, seed=s, dtype=inputs[1].dtype) for s in (4, 5)]


def our_norm(*inputs: Tensor, **options) -> tuple[Tensor, Tensor]:
    return ops.residual_norm(*inputs, eps=EPS, **options)


def torch_norm(x, residual, weight, bias) -> tuple[Tensor, Tensor]:
    summed = residual + x
    weight, bias = weight.to(summed.dtype), bias.to(summed.dtype)
    return F.layer_norm(summed, weight.shape, weight, bias, EPS), summed


def widened(inputs: list[Tensor]) -> list[Tensor]:
    """In float64, which the definition serves."""
    return [x.double() for x in inputs]


@pytest.mark.parametrize("dtypes", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "width"), [(1, 256), (4099, 256), (1001, 768), (37, 1000)])
def test_norm_is_at_most_twice_as_far_as_pytorch_s(rows, width, dtypes) -> None:
    inputs = norm_inputs(rows, width, dtypes)
    upstream = of_norm(inputs)
    ours, theirs = (step(function, inputs, upstream) for function in (our_norm, torch_norm))
    assert_at_most_as_far(ours, theirs, step(our_norm, widened(inputs), upstream))


@pytest.mark.parametrize("dtypes", DTYPES[:3], ids=str)
def test_dropout_of_the_norm_is_the_definition_s(dtypes) -> None:
    inputs = norm_inputs(1001, 256, dtypes)
    inputs[1] = torch.zeros_like(inputs[1])  # what is kept is what is not zero
    options = {"dropout_p": 0.3, "seed": torch.tensor(2**40 + 3, device="cuda")}
    upstream = of_norm(inputs)
    ours, truth = (step(our_norm, x, upstream, **options) for x in (inputs, widened(inputs)))
    assert torch.equal(ours[1] != 0, truth[1] != 0)
    for x, y in zip(ours, truth, strict=True):
        within = (2e-5 if x.dtype == F32 else 1e-2) * y.abs().max().item()
        torch.testing.assert_close(x.double(), y, rtol=0, atol=within)


def linear_inputs(rows: int, dtype: torch.dtype, width: int = 256) -> list[Tensor]:
    """x, weight, bias, table; and indices, some of them -1, as a projection of q, k and v."""
    shapes = ((rows, width), (3 * width, width), (3 * width,), (67, 2 * width))
    generator = torch.Generator("cuda").manual_seed(9)
    indices = torch.randint(-1, 67, (rows, 2), generator=generator, device="cuda")
    tensors = [draw(*shape, seed=s, dtype=dtype) for s, shape in enumerate(shapes)]
    return [*tensors, indices.int()]


def torch_linear(x, weight, bias, table, indices) -> Tensor:
    """What there is without this operator: an addition behind the linear layer."""
    out = F.linear(x, weight, bias)
    for index in indices.unbind(1):
        added = table[index.clamp(min=0)] * (index >= 0)[:, None]
        out = out + F.pad(added, (0, out.shape[1] - added.shape[1]))
    return out


@pytest.mark.parametrize("dtype", [F32, BF16, F16], ids=str)
@pytest.mark.parametrize("rows", [1, 4099])
def test_positions_are_about_as_near_as_pytorch_s(rows, dtype) -> None:
    *inputs, indices = linear_inputs(rows, dtype)
    upstream = [draw(rows, 768, seed=7, dtype=dtype)]
    ours = step(ops.linear_with_positions, inputs, upstream, indices)
    theirs = step(torch_linear, inputs, upstream, indices)
    truth = step(ops.linear_with_positions, widened(inputs), upstream, indices)
    # Ours adds the 256 products of a number in a row. cuBLAS adds those of few rows of float32 in a
    # tree, whose rounding is 3.1 to 4.0 times less, simulated; not yet measured on a GPU.
    is_by_tree = dtype == F32 and rows < 16
    assert_at_most_as_far(ours, theirs, truth, times=5 if is_by_tree else 2)


class Both:
    """A norm and a projection, forward and backward, from tensors that stay where they are."""

    def __init__(self, rows: int, dtypes=(BF16, F32)) -> None:
        self.seed = torch.zeros((), dtype=torch.int64, device="cuda")
        self.norm = norm_inputs(rows, 256, dtypes)
        *self.linear, self.indices = linear_inputs(rows, dtypes[0])
        self.upstream = [*of_norm(self.norm), draw(rows, 768, seed=7, dtype=dtypes[0])]

    def __call__(self) -> list[Tensor]:
        *of_norm, of_linear = self.upstream
        normed = step(our_norm, self.norm, of_norm, dropout_p=0.1, seed=self.seed)
        linear = ops.linear_with_positions
        return [*normed, *step(linear, self.linear, [of_linear], self.indices)]

    def draw_again(self, number: int) -> None:
        for place, x in enumerate((*self.norm, *self.linear, *self.upstream)):
            x.copy_(draw(*x.shape, seed=10 * number + place))
        self.indices.copy_(self.indices.flip(0))
        self.seed.fill_(number)


@pytest.mark.parametrize("dtypes", DTYPES[:2], ids=str)
def test_never_waits_and_the_same_bits_again(dtypes) -> None:
    both = Both(4099, dtypes)
    first = both()  # the first call compiles
    with no_wait():
        our_norm(*both.norm, dropout_p=0.1)  # draws a seed
        again = both()
    assert all(map(torch.equal, again, first))


def test_a_graph_replays_with_other_contents() -> None:
    both = Both(1001)
    graph, found = in_graph(both)
    for number in (1, 2):
        both.draw_again(number)
        graph.replay()
        # Products of cuBLAS may be another kernel's in a graph.
        for x, y in zip(found, both(), strict=True):
            torch.testing.assert_close(x, y, rtol=2e-2, atol=2e-2 * y.abs().max().item())


def test_a_hundred_numbers_of_rows_compile_nothing_new() -> None:
    steps = [Both(1 + 19 * i) for i in range(100)]
    for rows in (1, 2, 16, 300, 1000):  # numbers that a compiler may treat on their own
        Both(rows)()
    compiled = compilations()
    with no_wait():
        for one in steps:
            one()
    assert compilations() == compiled
