"""`vlp-fast doctor`: what is installed, which backend runs where, and what to repair."""

from __future__ import annotations


def run(words: list[str]) -> int:
    """Report on the installation."""
    if words:
        print("usage: vlp-fast doctor")
        return 0 if words[0] in ("-h", "--help") else 2
    from vlp_fast.doctor import main as diagnose

    return diagnose()
