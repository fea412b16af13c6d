"""Matching: the assignment alone, and cost and assignment of all decoder layers together.

Names of cases: `B` images with 1 to `T` targets each and 100 queries; `6x` decoder layers. `varied`
is a run over batches of different counts, as training has them: the most that an image has is drawn
from `T3-30` for each, and with it the padded size. Its times are for one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor

import vlp_fast

from . import matchers, padded_matching, solvers
from .case import OURS, Case, Cases, Provider, Setting, ours
from .peers import LAPX, TORCH_LINEAR_ASSIGNMENT
from .problems import COSTS, Scene, draw_counts, draw_scene

QUERIES, CLASSES, LAYERS = 100, 91, 6
VARIED_BATCHES = 100
TOLERANCE = 1e-6
"""Of the total of given costs, relative."""
MATCH_TOLERANCE = 1e-5
"""The same where costs are computed: in float32 they do not tell nearer optima apart."""
FEWEST = 3
"""Of targets that an image of `varied` has at most: 3 to 30."""
DROP_IN = f"{OURS} HungarianMatcher"
EAGER_COSTS = {
    "padded batch": padded_matching.cost,
    "padded batch, cdist": padded_matching.cost_by_cdist,
}
COMPILED = "padded batch, compiled cost"
QUICK_ABSENCE = "left out of a quick run, because compiling takes long"


def cases(setting: Setting) -> Cases:
    """The cases of matching by name."""
    return {case: partial(make, setting, case) for case, make in _makers(setting).items()}


def _makers(setting: Setting) -> dict[str, Callable[[Setting, str], Case]]:
    few, many = setting.batch(32), setting.batch(256)
    varied = setting.batch(32 if setting.device == "cuda" else 4)
    makers: dict[str, Callable[[Setting, str], Case]] = {  # the most telling first
        f"match-6xB{few}-T30": partial(_match, batch=few, most=30),
        f"match-6xB{many}-T100": partial(_match, batch=many, most=100),
        f"solve-boxes-B{many}-T100": partial(_solve, kind="boxes", batch=many, most=100),
    }
    for kind in ("uniform", "untrained", "trained"):
        makers[f"solve-{kind}-B{few}-T30"] = partial(_solve, kind=kind, batch=few, most=30)
    makers[f"match-varied-6xB{varied}-T{FEWEST}-30"] = partial(_match_varied, batch=varied, most=30)
    makers["single-100x10"] = _single
    return makers


def _single(setting: Setting, name: str) -> Case:
    """One matrix with the cost of the call: an array on a CPU, a tensor on the GPU."""
    cost = torch.rand(100, 10, generator=setting.generator(), device=setting.device)
    given: Any = cost if setting.device == "cuda" else cost.double().numpy()

    def on_host() -> Any:
        return given.cpu().numpy() if isinstance(given, Tensor) else given

    def read(pairs: tuple[Any, Any]) -> Tensor:
        rows, columns = (torch.as_tensor(part).cpu() for part in pairs)
        return rows[columns.argsort()]  # of each of the ten columns, which are all taken

    providers = ours(
        lambda: vlp_fast.linear_sum_assignment(given),
        ["linear_sum_assignment"],
        setting.device,
        read,
    )
    providers["SciPy"] = Provider(run=lambda: scipy_assignment(on_host()), read=read)
    absent = {}
    if lapx := LAPX.load():
        solve = partial(lapx, extend_cost=True, return_cost=False)
        providers["lapx"] = Provider(run=lambda: solve(on_host()), read=read)
    else:
        absent["lapx"] = LAPX.absence
    return Case(
        operator="matching",
        name=name,
        providers=providers,
        absent=absent,
        error=lambda rows: solvers.excess(cost.T, [10], rows),
        tolerance=TOLERANCE,
    )


def _solve(setting: Setting, name: str, *, kind: str, batch: int, most: int) -> Case:
    """Costs are given, problems are ragged."""
    counts, generator = draw_counts(batch, most, seed=0), setting.generator()
    cost = torch.cat([COSTS[kind](count, QUERIES, generator) for count in counts])
    run, read = solvers.ours(cost, counts)
    providers = ours(run, ["linear_sum_assignment"], setting.device, read)
    providers["SciPy"] = Provider(run=solvers.by_scipy(cost, counts))
    absent = {}
    if lapx := LAPX.load():
        solve = partial(lapx, extend_cost=True, return_cost=False)
        providers["lapx"] = Provider(run=solvers.by_loop(solve, cost, counts))
    else:
        absent["lapx"] = LAPX.absence
    peer, why = solvers.torch_linear_assignment(setting.device)
    if peer is not None:
        run, read = solvers.by_batch(peer, cost, counts)
        providers[TORCH_LINEAR_ASSIGNMENT.distribution] = Provider(run=run, read=read)
    else:
        absent[TORCH_LINEAR_ASSIGNMENT.distribution] = why
    return Case(
        operator="matching",
        name=name,
        providers=providers,
        absent=absent,
        error=partial(solvers.excess, cost, counts),
        tolerance=TOLERANCE,
        num_bytes=cost.nbytes + 8 * len(cost),
    )


def _match(setting: Setting, name: str, *, batch: int, most: int) -> Case:
    """Logits and boxes are given."""
    scenes = [_scene(setting, batch, most, seed=0)]
    scene = scenes[0]
    read = sum(x.nbytes for x in (scene.logits, scene.boxes, scene.targets.boxes))
    num_bytes = read + 8 * LAYERS * len(scene.targets.boxes)
    return _match_case(setting, name, scenes, num_bytes=num_bytes)


def _match_varied(setting: Setting, name: str, *, batch: int, most: int) -> Case:
    """Other counts in each batch."""
    number = 5 if setting.is_quick else VARIED_BATCHES
    generator = torch.Generator().manual_seed(0)
    limits = torch.randint(FEWEST, most + 1, (number,), generator=generator).tolist()
    scenes = [_scene(setting, batch, limit, seed) for seed, limit in enumerate(limits)]
    return _match_case(setting, name, scenes)


def _match_case(
    setting: Setting, name: str, scenes: Sequence[Scene], num_bytes: int | None = None
) -> Case:
    def each(solve: Callable[[Scene], Any]) -> Callable[[], list[Any]]:
        return lambda: [solve(scene) for scene in scenes]

    providers = ours(each(matchers.by_ours), ["match"], setting.device)
    providers[DROP_IN] = Provider(
        run=each(matchers.drop_in()), read=matchers.read_detr, backend=providers[OURS].backend
    )
    absent = {}
    if setting.device == "cpu" and len(scenes[0].annotations) > 100:
        absent["DETR"] = "left out on a CPU, where its costs (B Q, T in all) need 10 GB"
    else:
        providers["DETR"] = Provider(run=each(matchers.by_detr), read=matchers.read_detr)
    solver = padded_matching.solver_name(setting.device)
    read_padded = partial(matchers.read_padded, scenes)
    for name_of_cost, cost_of in EAGER_COSTS.items():
        run = each(partial(padded_matching.match, cost_of=cost_of))
        providers[f"{name_of_cost} ({solver})"] = Provider(run=run, read=read_padded)
    if setting.is_quick:
        absent[f"{COMPILED} ({solver})"] = QUICK_ABSENCE
    else:
        run = each(partial(padded_matching.match, cost_of=torch.compile(padded_matching.cost)))
        providers[f"{COMPILED} ({solver})"] = Provider(run=run, read=read_padded)
    return Case(
        operator="matching",
        name=name,
        providers=providers,
        absent=absent,
        error=lambda solutions: max(map(matchers.excess, scenes, solutions)),
        tolerance=MATCH_TOLERANCE,
        calls=len(scenes),
        num_bytes=num_bytes,
    )


def _scene(setting: Setting, batch: int, most: int, seed: int) -> Scene:
    return draw_scene(
        setting,
        layers=LAYERS,
        batch=batch,
        queries=QUERIES,
        classes=CLASSES,
        most=most,
        seed=seed,
    )
