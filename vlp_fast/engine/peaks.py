"""What a device could compute at most: products of matrices by its tensor cores.

Source: NVIDIA's data sheet of each product, figures without sparsity (where a sheet has those with
sparsity alone, half of them).
"""

from __future__ import annotations

import re

import torch

PEAKS = {
    r"V100S\b": 130.0,
    r"V100-SXM": 125.0,
    r"V100-PCIE": 112.0,
    r"\bT4\b": 65.0,
    r"\bA10\b": 125.0,
    r"\bA30\b": 165.0,
    r"\bA40\b": 149.7,
    r"\bA100\b": 312.0,
    r"\bL4\b": 121.0,
    r"\bL40S\b": 362.0,
    r"\bH100 NVL\b": 835.0,
    r"\bH100 PCIe\b": 756.0,
    r"\bH100\b": 989.0,
    r"\bH200 NVL\b": 835.0,
    r"\bH200\b": 989.0,
    r"\bB200\b": 2250.0,
}
"""TFLOP/s in fp16 and bf16, by what is in the name that torch gives; the first that fits."""
BEFORE_BF16 = re.compile(r"V100|\bT4\b")


def peak_of(name: str, dtype: torch.dtype) -> float | None:
    """TFLOP/s of a GPU; None of others, of a part of one (MIG), and in float32.

    In float32, by torch's defaults, convolutions take TF32 and products do not: there is no one
    peak to compare with.

    Args:
        name: as `torch.cuda.get_device_name` has it.
        dtype: that a step computes in.
    """
    halves = (torch.float16,) if BEFORE_BF16.search(name) else (torch.float16, torch.bfloat16)
    if dtype not in halves or "MIG" in name:
        return None
    return next((peak for part, peak in PEAKS.items() if re.search(part, name)), None)
