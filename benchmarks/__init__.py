"""Every operator beside what one would use instead, timed on this machine.

Installed as `vlp_fast.benchmarks`; run by `pytest --benchmark` and by `vlp-fast bench`. There is a
file for each operator. Files import one another by relative names, because a type checker finds
them as `benchmarks`.
"""

OPERATORS = ("attention", "dictionary", "losses", "matching")
"""The files of this folder that have cases."""
