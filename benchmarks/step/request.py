"""What can be asked of `vlp-fast bench step` (torch-free)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlp_fast.errors import InputError

from .cases import CASES


@dataclass(frozen=True, kw_only=True)
class StepRequest:
    """Which models, on which pictures, how many."""

    models: tuple[str, ...] = ()
    """Of `e2e_vlp_r18_3`, `soho_r18_3_official` and `e2e_vlp_r50_6`; all by default."""
    providers: tuple[str, ...] = ()
    """Who does the steps besides ours, by name, such as "DETR + BERT"; by default all, but what is
    compiled on a GPU only, for on a CPU that takes half an hour."""
    data_root: Path | None = None
    """A data set with boxes and captions, in its layout; pictures of COCO's sizes are drawn if none
    is given."""
    vocabulary: Path | None = None
    """WordPiece vocab.txt of that data set; one is trained on its captions if none is given."""
    pictures: int | None = None
    """A step; 4 on a CPU, 16 (E2E-VLP) or 32 (SOHO) on a GPU."""
    steps: int | None = None
    """Of each side in a pass."""
    passes: int = 3
    """In each, all sides see the same pictures; the spread is over them."""

    def __post_init__(self) -> None:
        """Raises InputError for a model that is not measured, and for numbers that cannot be."""
        if unknown := set(self.models) - set(CASES):
            raise InputError(f"no step of {min(unknown)!r}; there are those of {', '.join(CASES)}")
        names = {name for case in CASES.values() for name in case.others}
        if unknown := set(self.providers) - names:
            raise InputError(f"nobody is called {min(unknown)!r}; there are {', '.join(names)}")
        for name in ("pictures", "steps", "passes"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"--step.{name} {value}: give 1 or more")
