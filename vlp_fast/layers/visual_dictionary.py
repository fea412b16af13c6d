"""Visual dictionary (SOHO section 3.2): features become the nearest of K learned codes.

    h_i = argmin_j |v_i - d_j|                                                               Eq. 2
    d_j <- gamma d_j + (1 - gamma) mean of the v_i with h_i = j, if there are any            Eq. 4
    f(v_i) = sg[d_{h_i} - v_i] + v_i                                                         Eq. 5

`semantics="paper"` is the above, and quantises with the codes as they were before the update.
`semantics="official"` is the published code's rule: moving averages of sums and counts that start
at zero, their Laplace-smoothed quotient as the codes, and rows quantised with the updated codes at
the old index. There a code that is not hit turns to zero: at once if it never was; if it was, with
gamma = 0.4, it begins to shrink after some ten steps and is zero after thirty.

In neither source: `normalize_input`, `revival`, `initialise_from`, the loss of `quantise`.

Everything about the state is float32, whatever the input and the autocast, and nothing waits for
the device. Rows that are not valid or not finite never enter the state.

Several processes share one state: the statistics of all of them are added up in one all-reduce,
which runs beside what follows the layer, and move the codes when the gradient comes back to it.

N rows, D width, K codes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from vlp_fast.layers.code_revival import propose
from vlp_fast.layers.code_update import (
    CodeUpdate,
    ShardRows,
    version_of,
)
from vlp_fast.layers.dictionary_state import DictionaryState, Semantics
from vlp_fast.layers.kmeans import kmeans
from vlp_fast.layers.perplexity import perplexity, used_codes
from vlp_fast.layers.processes import Processes
from vlp_fast.layers.straight_through import Quantised, commitment_loss, straight_through
from vlp_fast.ops import (
    CodeStatistics,
    code_statistics,
    gather_codes,
    nearest_code,
)
from vlp_fast.ops.operands import no_autocast


class VisualDictionary(DictionaryState):
    """Replaces each row by the nearest code, and moves the codes towards their rows in training.

    >>> dictionary = vlp_fast.VisualDictionary(2048, 768)
    >>> quantised, indices = dictionary(features)          # (N, 768), (N,)

    Args:
        num_codes: K.
        width: D.
        momentum: gamma, the weight of the old value, in [0, 1].
        semantics: "paper" (Eq. 4) or "official" (the published code's sums and counts).
        normalize_input: layer norm without parameters in front of the search.
        revival: codes whose moving number of hits per step falls below this are replaced by rows of
            the batch; None never. The mean number is N / K, so sensible values lie well below it.
        seed: of the rows that revival picks.
        deterministic: the same bits in every run. False allows a GPU to add rows up in the order in
            which its threads come.
        process_group: of the processes whose statistics are added up; the default group of
            `torch.distributed` if None, as soon as it is initialised. All of them must call
            the layer equally often; their first step together begins with the state of rank 0.
            `DistributedDataParallel` gets `broadcast_buffers=False`: the layer itself keeps the
            state the same, and a broadcast between a step and its update is an error.
        synchronise: False keeps to this process's statistics.

    A forward in training mode is a step of the codes, with and without a gradient: activation
    checkpointing around the layer, which repeats it, would count rows twice.

    Attributes (buffers, float32 whatever becomes of the model's dtype):
        embed: (K, D) codes, N(0, 1) at first. Between forward and backward of several processes
            these are the old ones; `finish_update` waits for the new.
        cluster_size: (K,) moving average of each code's hits per step.
        cluster_sum: (K,) hits since the start.
        embed_avg: (K, D) moving average of each code's sum of rows; official semantics only.
    and a property:
        non_finite_rows: () int64, valid rows with a NaN or an infinity that were left out since the
            module was made. They also raise a warning, on a GPU one step later.

    Raises:
        ValueError: for an unknown semantics, a momentum outside [0, 1], no code, no width, or a
            revival that is not positive.

    Source: SOHO section 3.2; van den Oord et al. 2017 for the straight-through gradient.
    """

    def __init__(
        self,
        num_codes: int,
        width: int,
        momentum: float = 0.99,
        semantics: Semantics = "paper",
        *,
        normalize_input: bool = False,
        revival: float | None = None,
        seed: int = 0,
        deterministic: bool = True,
        process_group: ProcessGroup | None = None,
        synchronise: bool = True,
    ) -> None:
        super().__init__(num_codes, width, momentum, semantics, revival)
        self.normalize_input = normalize_input
        self.seed = seed
        self.deterministic = deterministic
        self.processes = Processes(process_group, is_alone=not synchronise)
        self._update: CodeUpdate | None = None
        self._shard: ShardRows | None = None
        self.register_state_dict_pre_hook(VisualDictionary._before_saving)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Quantises rows, and in training updates the codes from them.

        Args:
            x: (N, D) float.
            valid: (N,) bool, True on rows that may enter the state; all if None.

        Returns:
            quantised: (N, D) in x's dtype, the codes in value and x (normalised with
                `normalize_input`) in gradient.
            indices: (N,) int64 in [0, K).

        Raises:
            ValueError: if x is not (N, width).
        """
        quantised, labels, _ = self._replace(self._rows(x), valid)
        return quantised, labels.clamp(min=0)

    def quantise(self, x: Tensor, valid: Tensor | None = None) -> Quantised:
        """Does what `forward` does, and computes the commitment loss too."""
        rows = self._rows(x)
        quantised, labels, codes = self._replace(rows, valid)
        loss = commitment_loss(rows, codes, labels >= 0)
        return Quantised(quantised, labels.clamp(min=0), loss)

    def finish_update(self) -> None:
        """Waits for the statistics of the other processes, if any are on their way, and uses them.

        The gradient's return does so, as does the next call of the layer, `eval()`, `state_dict()`
        and whatever the layer tells about itself. On a GPU no host waits.
        """
        update, self._update = self._update, None
        if update is not None:
            update.wait(self.embed)
            with torch.no_grad():
                self.move(update.statistics)

    def begin_shard(self, number: int, count: int) -> None:
        """Lets the next calls only gather: they are shard `number` of the `count` of a step.

        Other processes are not spoken to. Only with `semantics="paper"`, which quantises with the
        codes as they were before the step.
        """
        self.finish_update()
        self._shard = ShardRows(number, count)

    def end_shard(self) -> Tensor | None:
        """What the shard's rows say, a buffer to be added up; None if the layer was not called."""
        shard, self._shard = self._shard, None
        return None if shard is None else shard.statistics

    def end_step(self, statistics: Tensor) -> None:
        """Moves the codes by the sum of what `end_shard` gave."""
        with torch.no_grad():
            self.move(CodeStatistics.of(statistics, self.num_codes, self.width))

    def train(self, mode: bool = True) -> "VisualDictionary":
        """Switches between training and evaluation; an update on its way comes first."""
        self.finish_update()
        return super().train(mode)

    def initialise_from(
        self,
        x: Tensor,
        *,
        rows_per_step: float | None = None,
        seed: int = 0,
        iterations: int = 10,
        is_shared: bool = False,
    ) -> None:
        """Starts the codes from data: k-means over the rows of all processes, fresh statistics.

        For once before training, on the features of a few batches; it may wait for the device, and
        gathers the rows on every process.

        Args:
            x: (N, D) float, as `forward` takes them, of all processes N >= num_codes; rows that
                are not finite are left out, with a warning.
            rows_per_step: rows that a training step will bring, of all processes; the moving number
                of hits starts from k-means' counts, scaled to it (`revival` levels it in the first
                step). If x has as many, None.
            seed: same rows and seed, same codes.
            iterations: of Lloyd's algorithm.
            is_shared: x holds the rows of all processes already, and is the same on each.

        Raises:
            ValueError: for fewer finite rows than codes, or rows of another width.
        """
        self.finish_update()
        with torch.no_grad(), no_autocast(x):
            rows = self._rows(x.detach().float())
            codes, counts = kmeans(
                rows if is_shared else self.processes.gather_rows(rows),
                self.num_codes,
                seed=seed,
                iterations=iterations,
                function="VisualDictionary.initialise_from",
            )
            if rows_per_step is not None:
                counts = counts * (rows_per_step / counts.sum())
            for found, state in ((codes, self.embed), (counts, self.cluster_size)):
                self.processes.copy_from(0, found)
                state.copy_(found)
            self.cluster_sum.zero_()
            if self.embed_avg is not None:
                self.embed_avg.copy_(codes * counts[:, None])
            if self.revival is not None:
                self.step.zero_()

    def perplexity(self) -> Tensor:
        """Returns the perplexity of recent use, a scalar tensor on the device: K if use is even."""
        self.finish_update()
        return perplexity(self.cluster_size)

    def used_codes(self) -> Tensor:
        """Returns the number of codes hit recently, a scalar int64 tensor on the device.

        Recently: the moving count exceeds that of one hit 1 / (1 - momentum) steps ago.
        """
        self.finish_update()
        return used_codes(self.cluster_size, self.momentum)

    def extra_repr(self) -> str:
        """Describes the layer in `print(model)`."""
        return f"{self.num_codes}, {self.width}, {self.momentum}, {self.semantics!r}"

    def normalise(self, x: Tensor) -> Tensor:
        """Rows (N, D) as the search compares them: normalised, if `normalize_input`."""
        return F.layer_norm(x, (self.width,)) if self.normalize_input else x

    def _rows(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != self.width or not x.is_floating_point():
            raise ValueError(
                f"VisualDictionary: received rows of shape {tuple(x.shape)} and {x.dtype}, "
                f"expected (N, {self.width}), floating point"
            )
        return self.normalise(x)

    def _replace(self, rows: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Returns rows with the value of codes, their labels as of `_look_up`, and the codes."""
        # Autocast would take products of the search and of the update in half precision.
        with torch.no_grad(), no_autocast(rows):
            labels, codes = self._look_up(rows.detach(), valid)
        quantised = straight_through(rows, codes)
        if self._update is not None and quantised.requires_grad:
            quantised.register_hook(lambda gradient: self.finish_update())
        return quantised, labels, codes

    def _look_up(self, rows: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the index of each row, -1 for those left out, and its code in the rows' dtype."""
        self.finish_update()
        if self.training and self._shard is None:
            self.processes.agree(self.buffers(recurse=False))
        labels = nearest_code(rows, self.embed, valid, excluded=-1)
        if self.training and self.semantics == "official":
            self._begin_update(rows, labels, valid)
            self.finish_update()
        codes = gather_codes(self.embed, labels, rows.dtype, valid)
        if self.training and self.semantics == "paper":
            self._begin_update(rows, labels, valid)
        return labels, codes

    def _begin_update(self, rows: Tensor, labels: Tensor, valid: Tensor | None) -> None:
        statistics = code_statistics(
            rows,
            labels,
            self.num_codes,
            valid,
            check_finite=False,
            deterministic=self.deterministic,
        )
        if self.revival is not None:
            share = self._shard or self.processes
            statistics = propose(
                statistics,
                rows,
                labels >= 0,
                self.is_dead(),
                step=self.step,
                seed=self.seed,
                rank=share.rank,
                processes=share.count,
            )
        if self._shard is not None:
            self._shard.add(statistics)
            return
        work = self.processes.add_up(statistics.buffer)
        self._update = CodeUpdate(statistics, work, version_of(self.embed))
        if work is None:
            self.finish_update()

    def _before_saving(self, *_: object) -> None:
        self.finish_update()

    def __getstate__(self) -> dict[str, Any]:
        """What is copied or pickled: the state after the step."""
        self.finish_update()
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return state
