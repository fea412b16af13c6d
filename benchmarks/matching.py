"""Matching: the assignment alone, and cost and assignment of all decoder layers together.

Names of cases: `B` images with 1 to `T` targets each and 100 queries; `6x` decoder layers. `varied`
is a run over batches of different counts, as training has them: the most that an image has is drawn
from `T3-30` for each, and with it the padded size. Its times are for one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from operator import call
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import vlp_fast
from vlp_fast import ops
from vlp_fast.layers.matching import pack_targets

from . import detr, grouped_matching, padded_matching, scenes
from .case import OURS, Case, Provider, Setting, compiled, ours
from .peers import LAPX, TORCH_LINEAR_ASSIGNMENT
from .scenes import Scene

VARIED_BATCHES = 100
TOLERANCE, MATCH_TOLERANCE = 1e-6, 1e-5
"""Of the total of given costs, relative, and where costs are computed: in float32 they do not tell
nearer optima apart."""
FEWEST, MOST = 3, 30
"""Of targets that an image of `varied` has at most."""
TOO_LARGE = "left out on a CPU, where its costs (B Q, T in all) need 10 GB"
LOOPS = "on a CPU it is the loop over SciPy"


@dataclass(frozen=True, eq=False)
class Costs:
    """A ragged batch of problems (T, Q): the rows of image after image, at most Q of each.

    A solution is the column of each row, (T,).
    """

    cost: Tensor
    counts: Sequence[int]

    def split(self) -> list[Any]:
        """The matrix of each image, on the host."""
        host = self.cost.cpu().numpy()
        return [host[start:stop] for start, stop in pairwise(accumulate(self.counts, initial=0))]

    def pad(self) -> tuple[Tensor, Tensor]:
        """Padded (B, most, Q), a row of zeros takes whichever query is left over; counts (B,)."""
        batch = pad_sequence(self.cost.split(list(self.counts)), batch_first=True)
        return batch, torch.tensor(self.counts, device=self.cost.device)

    def unpad(self, columns: Tensor) -> Tensor:
        """Drop the padding of columns (B, most)."""
        return columns[padded_matching.is_row(self.counts).to(columns.device)]

    def excess(self, columns: Tensor) -> float:
        """How far a solution is from the optimum, relative; infinite if it is none."""
        worst, found = 0.0, columns.cpu().split(list(self.counts))
        exact = Costs(self.cost.double(), self.counts).split()
        for matrix, chosen in zip(exact, found, strict=True):
            if len(set(chosen.tolist())) < len(matrix) or bool((chosen < 0).any()):
                return float("inf")
            total = matrix[np.arange(len(matrix)), chosen.numpy()].sum()
            best = matrix[scipy_assignment(matrix)].sum()
            worst = max(worst, (total - best) / max(1.0, abs(best)))
        return worst


def cases(setting: Setting) -> list[Case]:
    """The cases of matching, the most telling first."""
    few, many = setting.batch(32), setting.batch(256)
    varied = setting.batch(32 if setting.device == "cuda" else 4)
    number = 5 if setting.is_quick else VARIED_BATCHES
    generator = torch.Generator().manual_seed(0)
    limits = torch.randint(FEWEST, MOST + 1, (number,), generator=generator).tolist()
    return [
        _match(setting, f"match-6xB{few}-T30", few, [30]),
        _match(setting, f"match-6xB{many}-T100", many, [100]),
        _solve(setting, "boxes", many, 100),
        *(_solve(setting, kind, few, 30) for kind in ("uniform", "untrained", "trained")),
        _match(setting, f"match-varied-6xB{varied}-T{FEWEST}-{MOST}", varied, limits),
        grouped_matching.case(setting),
        _single(setting),
    ]


def _single(setting: Setting) -> Case:
    """One matrix with the cost of the call: an array on a CPU, a tensor on the GPU."""

    def draw() -> Any:
        cost = torch.rand(100, 10, generator=setting.generator(), device=setting.device)
        return cost if setting.device == "cuda" else cost.double().numpy()

    def on_host(cost: Any) -> Any:
        return cost.cpu().numpy() if isinstance(cost, Tensor) else cost

    def read(_: Any, pairs: tuple[Any, Any]) -> Tensor:
        rows, columns = (torch.as_tensor(part).cpu() for part in pairs)
        return rows[columns.argsort()]  # of each of the ten columns, which are all taken

    def by_lapx(lapx: Callable[..., Any]) -> Provider:
        return Provider(lambda cost: _by_lapx(lapx, on_host(cost)), read=read)

    solve: Any = vlp_fast.linear_sum_assignment
    return Case(
        operator="matching",
        name="single-100x10",
        draws=[draw],
        providers={
            **ours(solve, ["linear_sum_assignment"], setting.device, read=read),
            "SciPy": Provider(lambda cost: scipy_assignment(on_host(cost)), read=read),
            "lapx": LAPX.provide(by_lapx),
        },
        error=lambda cost, rows: Costs(torch.as_tensor(cost).T, [10]).excess(rows),
        tolerance=TOLERANCE,
    )


def _solve(setting: Setting, kind: str, batch: int, most: int) -> Case:
    """Costs are given, problems are ragged."""

    def draw() -> Costs:
        counts, generator = scenes.draw_counts(batch, most), setting.generator()
        parts = [scenes.COSTS[kind](count, scenes.QUERIES, generator) for count in counts]
        return Costs(torch.cat(parts), counts)

    def by_batch(solve: Callable[..., Any]) -> Provider:
        return Provider(lambda padded: solve(padded[0]), Costs.pad, Costs.unpad)

    solve, used = vlp_fast.linear_sum_assignment, ["linear_sum_assignment"]
    run: Any = lambda padded: solve(padded[0], num_rows=padded[1])[1]
    peer = TORCH_LINEAR_ASSIGNMENT
    return Case(
        operator="matching",
        name=f"solve-{kind}-B{batch}-T{most}",
        draws=[draw],
        providers={
            **ours(run, used, setting.device, prepare=Costs.pad, read=Costs.unpad),
            "SciPy": Provider(partial(_loop, scipy_assignment)),
            "lapx": LAPX.provide(lambda lapx: Provider(partial(_loop, partial(_by_lapx, lapx)))),
            peer.distribution: peer.provide(by_batch).unless(LOOPS * (setting.device != "cuda")),
        },
        error=Costs.excess,
        tolerance=TOLERANCE,
        num_bytes=lambda costs: costs.cost.nbytes + 8 * len(costs.cost),
    )


def _loop(solve: Callable[[Any], tuple[Any, Any]], costs: Costs) -> Tensor:
    """Image by image on the host, as DETR does."""
    found = [solve(matrix)[1] for matrix in costs.split()]
    return torch.from_numpy(np.concatenate(found)).to(costs.cost.device)


def _by_lapx(lapx: Callable[..., Any], matrix: Any) -> Any:
    return lapx(matrix, extend_cost=True, return_cost=False)


def _match(setting: Setting, name: str, batch: int, limits: Sequence[int]) -> Case:
    """Logits and boxes are given, of one batch or of many with other counts in each."""
    providers = ours(match_all, ["match"], setting.device)
    solver = padded_matching.solver_name(setting.device)
    is_too_large = setting.device == "cpu" and batch > 100
    by_cdist = partial(padded_matching.match, padded_matching.cost_by_cdist)
    by_compiled = lambda scene: padded_matching.match(compiled(padded_matching.cost), scene)
    compiled_cost = Provider(by_compiled, read=padded_matching.read)
    providers |= {
        f"{OURS} HungarianMatcher": Provider(call, drop_in, detr.read, providers[OURS].backend),
        "DETR": Provider(detr.match, read=detr.read).unless(TOO_LARGE * is_too_large),
        f"padded batch, cdist ({solver})": Provider(by_cdist, read=padded_matching.read),
        f"padded batch, compiled cost ({solver})": compiled_cost.unless(setting.needs_time),
    }
    draw = partial(scenes.draw_scene, setting, batch=batch)
    return Case(
        operator="matching",
        name=name,
        draws=[partial(draw, most=most, seed=seed) for seed, most in enumerate(limits)],
        providers=providers,
        error=match_excess,
        tolerance=MATCH_TOLERANCE,
        num_bytes=_match_bytes,
    )


def match_all(scene: Scene) -> Tensor:
    """`ops.match` of all layers, annotations packed in the call as everybody else's are: (A, T)."""
    targets = pack_targets(scene.annotations, scene.boxes.device)
    return ops.match(scene.logits, scene.boxes, targets, **scenes.WEIGHTS)[0]


def drop_in(scene: Scene) -> Callable[[], list[detr.Indices]]:
    """`vlp_fast.HungarianMatcher` where DETR calls its own: on layer after layer."""
    matcher = vlp_fast.HungarianMatcher(**scenes.WEIGHTS)
    return lambda: [
        matcher({"pred_logits": logits, "pred_boxes": boxes}, scene.annotations)
        for logits, boxes in zip(scene.logits, scene.boxes, strict=True)
    ]


def match_excess(scene: Scene, matches: Tensor) -> float:
    """The worst layer's distance to the optimum of the cost in float64."""
    (boxes, labels, is_target), worst = padded_matching.pad(scene), 0.0
    for layer, found in enumerate(matches):
        logits, predicted = (x[layer, None].double() for x in (scene.logits, scene.boxes))
        cost = padded_matching.cost(logits, predicted, boxes.double(), labels, is_target)
        worst = max(worst, Costs(cost[0][is_target], scene.counts).excess(found))
    return worst


def _match_bytes(scene: Scene) -> int:
    written = 16 + 8 * scenes.LAYERS
    return scene.logits.nbytes + scene.boxes.nbytes + written * sum(scene.counts)
