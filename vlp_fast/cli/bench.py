"""`vlp-fast bench`: time operators, or turn their rows into tables and pictures."""

from __future__ import annotations


def run(words: list[str]) -> int:
    """Time the operators that are asked for."""
    import tyro

    from vlp_fast.benchmarks.bench import Request, bench
    from vlp_fast.cli.options import parse

    config = (tyro.conf.FlagCreatePairsOff,)
    code: int = bench(parse(Request, words, "vlp-fast bench", config=config))
    return code
