"""A codebook of moving averages, stored and updated as vector-quantize-pytorch does it.

It shares the rule of `VisualDictionary(semantics="official")`, the smoothed quotient of averages of
sums and counts, and differs in three ways: averages start as one row for each code, not at zero;
rows become the codes as they were before the update; and codes of little use are given rows of the
batch as that package does it.

Shape suffixes: N rows, D width, K codes.
"""

import torch
from torch import Tensor, nn

from vlp_fast.layers.code_update import finite_statistics, replace_codes
from vlp_fast.layers.data_start import DataStart
from vlp_fast.layers.float32_state import Float32State
from vlp_fast.layers.kmeans import kmeans
from vlp_fast.layers.late_warning import LateWarning
from vlp_fast.layers.processes import Processes
from vlp_fast.ops import code_statistics, gather_codes, laplace_ema_update, nearest_code

LEAST_EPS = 1e-30
"""In place of eps 0: a code without any row would be divided by 0."""


class EmaCodebook(Float32State):
    """Finds the nearest code of each row, and in training moves the codes towards their rows.

    Args:
        dim: D.
        codebook_size: K.
        decay: weight of the old averages.
        eps: Laplace smoothing, in rows.
        kmeans_init: start from the rows of the first call in training, by k-means.
        kmeans_iters: its iterations.
        threshold_ema_dead_code: codes whose moving number of rows falls below it are replaced.
        sync_codebook: one codebook for all processes, unless False.

    Attributes (buffers, float32 whatever becomes of the model's dtype):
        embed: (1, K, D) float32 codes.
        embed_avg: (1, K, D) float32 moving sums of their rows.
        cluster_size: (1, K) float32 moving numbers of their rows.
        initted: () bool, False until k-means has run; it alone decides whether it will.
    """

    embed: Tensor
    embed_avg: Tensor
    cluster_size: Tensor
    initted: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        decay: float,
        eps: float,
        kmeans_init: bool,
        kmeans_iters: int,
        threshold_ema_dead_code: float,
        sync_codebook: bool | None,
    ) -> None:
        super().__init__()
        self.codebook_size = codebook_size
        self.decay = decay
        self.eps = max(eps, LEAST_EPS)
        self.kmeans_iters = kmeans_iters
        self.threshold_ema_dead_code = threshold_ema_dead_code
        self.processes = Processes(is_alone=sync_codebook is False)
        embed = torch.zeros(1, codebook_size, dim, dtype=torch.float32)
        if not kmeans_init:
            nn.init.kaiming_uniform_(embed)
        self.register_buffer("embed", embed)
        self.register_buffer("embed_avg", embed.clone())
        ones = torch.ones(1, codebook_size, dtype=torch.float32)
        self.register_buffer("cluster_size", ones)
        self.register_buffer("initted", torch.tensor(not kmeans_init))
        self._start = DataStart(self.processes)
        if not kmeans_init:
            self._start.is_up(self.initted)
        self._warning = LateWarning(
            "VectorQuantize: received vectors in evaluation before its codes have started, expected"
            " a training step or a loaded state first; all of its codes are 0 with kmeans_init=True"
        )
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            EmaCodebook._on_loaded
        )

    def forward(
        self, rows: Tensor, valid: Tensor | None, *, freeze: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Looks up rows, and in training updates the codes from them.

        Args:
            rows: (N, D) floating point, without a gradient.
            valid: (N,) bool, True on rows that may enter the state; all if None.
            freeze: leave the codes as they are.

        Returns:
            codes: (N, D) in the rows' dtype, as they were before the update.
            found: (N,) int64 in [0, K); -1 for rows that are not valid or not finite.
        """
        if not self._start.is_known(self.initted):
            if self.training:
                self._start_together(rows, valid)
            else:
                self._warning.watch(~self.initted)
        found = nearest_code(rows, self.embed[0], valid, excluded=-1)
        codes = gather_codes(self.embed[0], found, rows.dtype, valid)
        if self.training and not freeze:
            self._update(rows, found, valid)
            self.replace_dead(rows, found >= 0)
        return codes, found

    def replace_dead(self, rows: Tensor, is_candidate: Tensor) -> None:
        """Moves codes of little use onto random rows of the batch, each onto a row of its own.

        Args:
            rows: (N, D) floating point.
            is_candidate: (N,) bool, rows that may become codes.
        """
        if self.threshold_ema_dead_code <= 0:
            return
        is_dead = self.cluster_size[0] < self.threshold_ema_dead_code
        order = torch.rand(len(rows), device=rows.device).masked_fill(~is_candidate, 2).argsort()
        turn = torch.rand(len(is_dead), device=rows.device).masked_fill(~is_dead, 2)
        rank = turn.argsort().argsort()  # those that are dead come first, in random order
        chosen = is_dead & (rank < is_candidate.sum())
        # A process without rows chooses nothing, but takes part: the others wait for it.
        picked = order[rank.clamp(max=len(rows) - 1)] if len(rows) else rank[:0]
        vectors = rows[picked].float() if len(rows) else torch.zeros_like(self.embed[0])
        from_first = torch.cat((vectors, chosen[:, None].float()), dim=1)
        self.processes.copy_from(0, from_first)
        vectors, chosen = from_first[:, :-1], from_first[:, -1] > 0
        size = torch.full_like(self.cluster_size[0], self.threshold_ema_dead_code)
        self._set(chosen, vectors, size)

    def _update(self, rows: Tensor, found: Tensor, valid: Tensor | None) -> None:
        # Rows that are not finite have no index already.
        statistics = code_statistics(rows, found, self.codebook_size, valid, check_finite=False)
        work = self.processes.add_up(statistics.buffer)
        if work is not None:
            work.wait()
        sums, counts, _ = finite_statistics(statistics)
        laplace_ema_update(
            self.embed[0],
            self.embed_avg[0],
            self.cluster_size[0],
            sums,
            counts,
            momentum=self.decay,
            eps=self.eps,
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _start_together(self, rows: Tensor, valid: Tensor | None) -> None:
        """Starts unless the state has; it runs once, and may wait for the device and others."""
        first = self._start.first_started(self.initted)
        if first is None:
            self._start_from(rows if valid is None else rows[valid])
        else:  # A state that was loaded by one process alone is that of all.
            for state in (self.embed, self.embed_avg, self.cluster_size):
                self.processes.copy_from(first, state)
        self.initted.fill_(True)
        self._start.is_up(self.initted, everywhere=True)

    def _start_from(self, rows: Tensor) -> None:
        codes, counts = kmeans(
            self.processes.gather_rows(rows),
            self.codebook_size,
            seed=torch.initial_seed(),
            iterations=self.kmeans_iters,
            function="VectorQuantize",
        )
        for found in (codes, counts):
            self.processes.copy_from(0, found)
        self._set(torch.ones_like(counts, dtype=torch.bool), codes, counts)

    def _set(self, chosen: Tensor, vectors: Tensor, size: Tensor) -> None:
        """Gives chosen codes a vector, and averages as if `size` rows had lain on it."""
        replace_codes(self.embed[0], vectors, chosen)
        sums = torch.where(chosen[:, None], vectors * size[:, None], self.embed_avg)
        self.embed_avg.copy_(sums)
        self.cluster_size.copy_(torch.where(chosen, size, self.cluster_size))

    def _on_loaded(self, _: object) -> None:
        self._start.was_loaded(self.initted)
