"""What attention refuses, before any backend sees it or on a CPU, and what it then says."""

import pytest
import torch
from dense_attention import bounds, packed, rows
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp_fast import ops

Q = rows([4], seed=0)
FOUR = bounds([4])


def attend(q: Tensor = Q, cu_seqlens: Tensor = FOUR, **options) -> Tensor:
    return ops.attention(q, q, q, cu_seqlens, cu_seqlens, max_seqlen_q=4, max_seqlen_k=4, **options)


def test_shapes_and_dtypes() -> None:
    with pytest.raises(ValueError, match=r"attention: received q .* expected"):
        packed(Q, Q[..., :4], Q, [4], [4])
    with pytest.raises(ValueError, match="one dtype"):
        packed(Q, Q.double(), Q, [4], [4])
    with pytest.raises(ValueError, match=r"received q of torch\.int64, expected floating point"):
        attend(Q.long())
    with pytest.raises(ValueError, match=r"received order \(2,\)"):
        attend(order=torch.tensor([0, 1], dtype=torch.int32))


def test_heads_of_no_width() -> None:
    with pytest.raises(ValueError, match="E above 0"):
        attend(torch.zeros(4, 3, 0))


@pytest.mark.parametrize("dropout_p", [1.0, 1 - 1e-6, -0.1, torch.nan, torch.inf])
def test_rates_of_dropout(dropout_p) -> None:
    with pytest.raises(ValueError, match=r"attention: received dropout_p .* below 1"):
        attend(dropout_p=dropout_p)
    x = torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"residual_norm: received dropout_p .* below 1"):
        ops.residual_norm(x, x, x[0], x[0], eps=1e-5, dropout_p=dropout_p)


@pytest.mark.parametrize("seed", [torch.tensor([1]), torch.tensor(1.0), torch.tensor(1).int()])
def test_seeds(seed) -> None:
    with pytest.raises(ValueError, match=r"received seed .* expected a number, or a tensor \(\)"):
        attend(dropout_p=0.1, seed=seed)


def test_a_seed_counts_modulo_two_to_the_32() -> None:
    found = [attend(dropout_p=0.5, seed=seed) for seed in (7, 7 + 2**32, 7 + 2**80, 7 - 2**32)]
    assert all(torch.equal(x, found[0]) for x in found)


@pytest.mark.parametrize(
    ("cu_seqlens", "message"),
    [
        (torch.zeros(0, dtype=torch.int32), r"expected both \(S \+ 1,\)"),
        (torch.tensor([[0, 4]], dtype=torch.int32), r"expected both \(S \+ 1,\)"),
        (torch.tensor([0, 4]), r"of torch\.int64, expected torch\.int32"),
        (torch.tensor([0.0, 4.0]), r"of torch\.float32, expected torch\.int32"),
        (torch.tensor([1, 4], dtype=torch.int32), r"cu_seqlens from 1 to 4"),
        (torch.tensor([0, 3], dtype=torch.int32), r"received 4 rows with cu_seqlens from 0 to 3"),
        (torch.tensor([0, 3, 2, 4], dtype=torch.int32), r"that rises from 0"),
    ],
)
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_bounds(backend, cu_seqlens, message) -> None:
    with ops.use(backend), pytest.raises(ValueError, match=message):
        attend(cu_seqlens=cu_seqlens)


@pytest.mark.parametrize("backend", ["reference", "torch"])
@pytest.mark.parametrize("lengths", [(3, 4), (4, 3)])
def test_sequences_longer_than_said(backend, lengths) -> None:
    sizes = dict(zip(("max_seqlen_q", "max_seqlen_k"), lengths, strict=True))
    with ops.use(backend), pytest.raises(ValueError, match="longest sequence 4"):
        ops.attention(Q, Q, Q, FOUR, FOUR, **sizes)


def test_parts_of_one_projection() -> None:
    two, three = torch.zeros(4, 2, 3, 8), torch.zeros(4, 3, 3, 8)
    with pytest.raises(ValueError, match=r"received qkv \(4, 2, 3, 8\), expected \(T, 3, N, E\)"):
        ops.attention_qkvpacked(two, FOUR, max_seqlen=4)
    with pytest.raises(ValueError, match=r"received kv \(4, 3, 3, 8\), expected \(T, 2, N, E\)"):
        ops.attention_kvpacked(Q, three, FOUR, FOUR, max_seqlen_q=4, max_seqlen_k=4)
    with pytest.raises(ValueError, match=r"received kv \(4, 3, 8\)"):
        ops.attention_kvpacked(Q, Q, FOUR, FOUR, max_seqlen_q=4, max_seqlen_k=4)


@pytest.mark.parametrize("name", ["cu_seqlens", "order", "seed"])
def test_tensors_left_on_the_cpu(name) -> None:
    with FakeTensorMode():
        tensors = {
            "cu_seqlens": torch.zeros(2, dtype=torch.int32, device="cuda"),
            "order": torch.zeros(1, dtype=torch.int32, device="cuda"),
            "seed": torch.zeros((), dtype=torch.int64, device="cuda"),
        }
        tensors[name] = tensors[name].cpu()
        with pytest.raises(ValueError, match=r"received tensors on .*, expected one device; move"):
            attend(torch.zeros(4, 3, 8, device="cuda"), dropout_p=0.1, **tensors)
