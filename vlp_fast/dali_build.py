"""Which build of DALI is installed: each is for GPUs of its own (torch-free)."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError, version

BUILDS = {"nvidia-dali-cuda130": (7, 5), "nvidia-dali-cuda120": (5, 0)}
"""Oldest compute capability that each has code for."""
CODECS = ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12")
"""nvImageCodec, which decodes for DALI; one of another version breaks decoding."""


def installed(names: tuple[str, ...]) -> tuple[str, str] | None:
    """The first of these distributions that is installed, and its version."""
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            return name, version(name)
    return None


def dali_version() -> str:
    """Of whichever build is installed."""
    found = installed(tuple(BUILDS))
    return found[1] if found else "(not installed)"
