"""Which of two decoders the pictures of training go through.

The same samples in the same order at the same sizes, by either. Their pixels are equal where
nothing is resized, and differ by at most one of 255 levels where a picture is enlarged; where it is
made smaller, the outermost row and column differ by up to twenty (DALI repeats the border, Pillow
and torchvision weigh what is there). JPEG decoded by a GPU differs by some levels at edges.

Held-out pictures are decoded by torchvision, whatever trains: figures do not depend on it.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from importlib.util import find_spec

import torch

from vlp_fast.dali_build import BUILDS, dali_version, installed
from vlp_fast.data.config import DataConfig, Decoder
from vlp_fast.errors import InputError

FEW_CORES = 2
"""A GPU; with fewer, loading processes cannot keep it busy, and DALI decodes on the GPU."""


def choose_decoder(config: DataConfig, device: torch.device) -> Decoder:
    """Resolve "auto": DALI where it works and the GPU has few cores to feed it.

    Raises:
        InputError: if DALI is asked for and not installed; told before any data are read.
    """
    if config.decoder == "dali" and installed(tuple(BUILDS)) is None:
        raise InputError(
            "--data.decoder dali: DALI is not installed; `pip install 'vlp-fast[dali]'`, or "
            "[dali-cu12] for a V100, or --data.decoder torchvision"
        )
    if config.decoder != "auto":
        return config.decoder
    if config.cache or device.type != "cuda":
        return "torchvision"
    if not _is_dali_for(torch.cuda.get_device_capability(device)):
        return "torchvision"
    return "dali" if cores() < FEW_CORES * torch.cuda.device_count() else "torchvision"


def _is_dali_for(capability: tuple[int, int]) -> bool:
    """Whether a build is installed that has code for such a GPU."""
    found = installed(tuple(BUILDS))
    if found is None or find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
        return False
    return capability >= BUILDS[found[0]]


def cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def described(decoder: Decoder, device: torch.device) -> str:
    """The decoder with its version, and how pictures are resized: "torchvision 0.26.0, ..."."""
    by = f"DALI {dali_version()} on {device.type}" if decoder == "dali" else _torchvision()
    return f"{by}, bilinear with antialiasing"


def _torchvision() -> str:
    return f"torchvision {version('torchvision').split('+')[0]}"
