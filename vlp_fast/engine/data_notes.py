"""What a person should know about the data before a run: each thing once, and of which split."""

from __future__ import annotations

from vlp_fast.data.records import Dataset
from vlp_fast.engine.average_precision import is_available
from vlp_fast.engine.config import E2EVLPRun, SohoRun


def data_notes(run: E2EVLPRun | SohoRun, train: Dataset, held_out: Dataset) -> tuple[str, ...]:
    """Lines that begin with "train", "held out" or "train and held out"."""
    notes = {"train": list(train.notes), "held out": list(held_out.notes)}
    if isinstance(run, E2EVLPRun) and run.objective.detection:
        notes["train"] += _crowded(train, run.model.num_queries)
        notes["held out"] += _crowded(held_out, run.model.num_queries)
        if not is_available():
            notes["held out"].append(
                "no average precision of the boxes, because faster-coco-eval is not installed: "
                "pip install 'vlp-fast[eval]'"
            )
    of: dict[str, list[str]] = {}
    for split, lines in notes.items():
        for line in lines:
            of.setdefault(line, []).append(split)
    return tuple(f"{' and '.join(splits)}: {line}" for line, splits in of.items())


def _crowded(dataset: Dataset, num_queries: int) -> list[str]:
    """A query is matched with one box: the boxes beyond are never learnt."""
    counts = [len(record.labels) for record in dataset.records]
    crowded = sum(count > num_queries for count in counts)
    if not crowded:
        return []
    return [
        f"{crowded} of {len(counts)} images have more boxes than the model's {num_queries} queries "
        f"(the most: {max(counts)}); only {num_queries} of each are matched, unless "
        "--model.num-queries is raised"
    ]
