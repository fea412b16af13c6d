"""What a person should know about boxes before a run."""

from __future__ import annotations

from vlp_fast.data.records import Dataset


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
