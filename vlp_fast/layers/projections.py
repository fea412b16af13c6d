"""The projections of multi-head attention, with the parameters of `nn.MultiheadAttention`.

    q = Wq (x + positions)    k = Wk (x + positions)    v = Wv x

One product makes q, k and v. Positions that are sums of table rows (`TablePositions`) are projected
as a table and added behind the product, so that x + positions is never written out.

Shape suffixes: T rows of all sequences, S sequences, D width, N heads, E head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_fast.layers.positions import Positions, TablePositions, check_positions
from vlp_fast.layers.sequences import Sequences, check_rows
from vlp_fast.ops.attention import attention_kvpacked
from vlp_fast.ops.positions import linear_with_positions


class MultiHeadProjections(nn.Module):
    """The projections of attention; `CrossAttention` and `GridAttention` are the layers.

    Its parameters are those of `nn.MultiheadAttention`: where head_dim is not given, state
    dictionaries go both ways. One made with `bias=False`, `add_bias_kv` or a `kdim` or `vdim` other
    than the width has other parameters, and does not load. `out_proj` starts Xavier-uniform, as in
    DETR.

    Args:
        width: D, features per row, in and out.
        num_heads: N.
        head_dim: E; width / num_heads if None.
        dropout: rate on the attention weights while training.

    Raises:
        ValueError: if head_dim is None and num_heads does not divide width, a size is below 1, or
            dropout is not 0 to below 1.
    """

    # PyTorch's own layers look here for their fused path, which takes the parameters past this
    # layer; without it they call `forward`, which says what to use instead.
    batch_first = False

    def __init__(
        self, width: int, num_heads: int, head_dim: int | None = None, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        _check_sizes(type(self).__name__, width, num_heads, head_dim, dropout)
        self.num_heads = num_heads
        self.head_dim = width // num_heads if head_dim is None else head_dim
        self.dropout = dropout
        inner = num_heads * self.head_dim
        self.in_proj_weight = nn.Parameter(torch.empty(3 * inner, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * inner))
        self.out_proj = nn.Linear(inner, width)
        # q, k and v as one matrix, as in nn.MultiheadAttention and DETR: a third alone would start
        # sqrt(2) times as wide.
        for matrix in (self.in_proj_weight, self.out_proj.weight):
            nn.init.xavier_uniform_(matrix)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, x: Tensor, positions: Positions | None = None) -> Tensor:
        """Maps rows (T, D) to queries, keys and values (T, 3, N, E)."""
        return self._project(x, positions, 0, 3)

    def project_queries(self, x: Tensor, positions: Positions | None = None) -> Tensor:
        """Maps rows (T, D) to queries (T, N, E)."""
        return self._project(x, positions, 0, 1)[:, 0]

    def project_memory(self, memory: Tensor, positions: Positions | None = None) -> Tensor:
        """Maps rows (T, D) to keys and values (T, 2, N, E): what a step-wise decoder keeps."""
        return self._project(memory, positions, 1, 3)

    def attend(
        self,
        x: Tensor,
        sequences: Sequences,
        memory: Tensor,
        memory_sequences: Sequences,
        *,
        positions: Positions | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Attends from rows x to projected keys and values.

        Args:
            x: (T, D) float, rows that ask.
            sequences: of x, S of them.
            memory: (Tm, 2, N, E) from `project_memory`.
            memory_sequences: of the memory, S of them.
            positions: of x, for its queries; none if None.
            causal: a sequence's last row sees all of its keys, the row before all but the last key,
                and so on.

        Returns:
            (T, D).

        Raises:
            ValueError: if rows, positions and sequences do not fit together.
        """
        name = type(self).__name__
        check_rows(name, x, sequences)
        check_rows(f"{name} (memory)", memory, memory_sequences)
        mixed_TNE = attention_kvpacked(
            self.project_queries(x, positions),
            memory,
            sequences.cu_seqlens,
            memory_sequences.cu_seqlens,
            max_seqlen_q=sequences.max_length,
            max_seqlen_k=memory_sequences.max_length,
            causal=causal,
            dropout_p=self.dropout_p,
            order=memory_sequences.longest_first,
        )
        out_TD: Tensor = self.out_proj(mixed_TNE.flatten(1))
        return out_TD

    @property
    def dropout_p(self) -> float:
        """Rate on the attention weights, 0 in evaluation."""
        return self.dropout if self.training else 0.0

    def _project(self, x: Tensor, positions: Positions | None, first: int, last: int) -> Tensor:
        """Projects rows to parts `first` to `last` of (q, k, v): (T, last - first, N, E)."""
        if positions is not None:
            check_positions(type(self).__name__, x, positions)
        inner = self.num_heads * self.head_dim
        weight = self.in_proj_weight[first * inner : last * inner]
        bias = self.in_proj_bias[first * inner : last * inner]
        moved = (min(last, 2) - first) * inner  # v has no positions
        if positions is None or _is_empty(positions):
            out = F.linear(x, weight, bias)
        elif isinstance(positions, TablePositions):
            table = F.linear(positions.table.to(weight.dtype), weight[:moved])
            out = linear_with_positions(x, weight, bias, table, positions.indices)
        else:
            out = F.linear(x + positions.to(x.dtype), weight[:moved], bias[:moved])
            if moved < weight.shape[0]:
                rest = F.linear(x, weight[moved:], bias[moved:])
                out = torch.cat([out, rest], dim=1)
        return out.view(x.shape[0], last - first, self.num_heads, self.head_dim)


def _check_sizes(
    name: str, width: int, num_heads: int, head_dim: int | None, dropout: float
) -> None:
    if min(width, num_heads, 1 if head_dim is None else head_dim) < 1:
        raise ValueError(
            f"{name}: received width {width}, {num_heads} heads and head_dim {head_dim}, expected "
            "1 or more of each"
        )
    if head_dim is None and width % num_heads:
        raise ValueError(
            f"{name}: received width {width} and {num_heads} heads, which do not divide it; pass "
            "head_dim"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"{name}: received dropout {dropout}, expected 0 to below 1")


def _is_empty(positions: Positions) -> bool:
    """Whether there is no position at all, as in a batch of text."""
    return isinstance(positions, TablePositions) and positions.table.shape[0] == 0
