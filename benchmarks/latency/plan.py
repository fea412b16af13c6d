"""Who is measured, on pictures of which size (torch-free)."""

from __future__ import annotations

from dataclasses import dataclass

TWO_STAGE = "two_stage"
WORDS = 16
"""Of the text, SOHO's length (section 4.5); E2E-VLP's paper tells none."""
SOHO_SIZE = (600, 1000)
TABLE_6 = ((448, 448), (448, 746), (600, 1000), (800, 1333))
"""(height, width) of E2E-VLP's pictures in its Table 6, the last one its own."""
QUICK_SIZES = ((96, 96), (96, 160))

SYSTEMS: dict[str, tuple[tuple[int, int], ...]] = {
    TWO_STAGE: (SOHO_SIZE,),
    "soho_r101_12": (SOHO_SIZE,),
    "e2e_vlp_r50_6": TABLE_6,
    "e2e_vlp_r152_12": TABLE_6,
}
"""(height, width) of the pictures of each."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A system on pictures of a size.

    Attributes:
        system: by name.
        size: (height, width) of the picture.
        device: "cpu" or "cuda".
        is_quick: a small one of the same parts.
    """

    system: str
    size: tuple[int, int]
    device: str
    is_quick: bool


def plans(names: tuple[str, ...], device: str, *, is_quick: bool = False) -> list[Plan]:
    """What to measure, system after system; all of them if no name is given."""
    found = []
    for name in names or SYSTEMS:
        sizes = SYSTEMS[name]
        if is_quick:
            sizes = QUICK_SIZES if len(sizes) > 1 else QUICK_SIZES[-1:]
        found += [Plan(system=name, size=size, device=device, is_quick=is_quick) for size in sizes]
    return found
