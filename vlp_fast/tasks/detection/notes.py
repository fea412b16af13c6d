"""What a person should know about boxes before a run."""

from __future__ import annotations

from vlp_fast.data.records import Dataset
from vlp_fast.metrics.coco_protocol import is_available


def detection_notes(train: Dataset, held_out: Dataset, num_queries: int) -> dict[str, list[str]]:
    """Images with more boxes than the model has queries; a package that scores need."""
    notes = {"train": crowded(train, num_queries), "held out": crowded(held_out, num_queries)}
    if not is_available():
        notes["held out"].append(
            "no average precision of the boxes, because faster-coco-eval is not installed: "
            "pip install 'vlp-fast[eval]'"
        )
    return notes


def crowded(dataset: Dataset, num_queries: int) -> list[str]:
    """A query is matched with one box: the boxes beyond are never learnt."""
    counts = dataset.table.box_counts
    crowded = int((counts > num_queries).sum())
    if not crowded:
        return []
    return [
        f"{crowded} of {len(counts)} images have more boxes than the model's {num_queries} queries "
        f"(the most: {counts.max()}); only {num_queries} of each are matched, unless "
        "--model.num-queries is raised"
    ]
