"""What a device can do at most, and how near a measured time comes to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Nominal rates of a device; matrix units without sparsity."""

    gb_per_s: float
    tflop_per_s: Mapping[str, float]
    """By dtype; float32 outside of the matrix units."""
    source: str


# By the name that torch reports.
PEAKS: dict[str, Peak] = {
    "NVIDIA H200": Peak(
        gb_per_s=4800,
        tflop_per_s={"float32": 67, "float16": 989, "bfloat16": 989},
        source="NVIDIA H200 datasheet, SXM",
    ),
    "NVIDIA H100 80GB HBM3": Peak(
        gb_per_s=3350,
        tflop_per_s={"float32": 67, "float16": 989, "bfloat16": 989},
        source="NVIDIA H100 datasheet, SXM",
    ),
    "NVIDIA A100-SXM4-80GB": Peak(
        gb_per_s=2039,
        tflop_per_s={"float32": 19.5, "float16": 312, "bfloat16": 312},
        source="NVIDIA A100 datasheet, SXM 80 GB",
    ),
    "Tesla V100-SXM2-32GB": Peak(
        gb_per_s=900,
        tflop_per_s={"float32": 15.7, "float16": 125},
        source="NVIDIA V100 datasheet, SXM2",
    ),
}


def limit_fraction(
    device: str, dtype: str, seconds: float, num_bytes: int | None, flops: int | None
) -> float | None:
    """Share of the physical limit: the least time that bytes and operations need, by the time.

    `None` for a device that is not in the table, or where neither is counted.
    """
    peak = PEAKS.get(device)
    if peak is None or (num_bytes is None and flops is None):
        return None
    least = [0.0 if num_bytes is None else num_bytes / (peak.gb_per_s * 1e9)]
    if flops is not None:
        if dtype not in peak.tflop_per_s:
            return None
        least.append(flops / (peak.tflop_per_s[dtype] * 1e12))
    return max(least) / seconds
