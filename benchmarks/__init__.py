"""Every operator beside what one would use instead, timed on this machine.

Installed as `vlp_fast.benchmarks`; run by `pytest --benchmark` and by `vlp-fast bench`. There is a
file for each operator. Files import one another by relative names, because a type checker finds
them as `benchmarks`.

    attention.py         cases of attention
    attention_ways.py    ways to attend, ours and others'
    bench.py             vlp-fast bench
    case.py              a problem, its providers, and how a solution is checked
    coco_mix.py          batches of pictures as COCO and DETR have them, packed and padded
    codebook_steps.py    ways to do a training step of a codebook
    counters.py          compilations, waits for the device, memory, other load
    data_loading.py      cases of the way from files to a batch
    detr.py              DETR's matcher and criterion, as its users run them
    dictionary.py        cases of the visual dictionary
    encoders.py          cases of layers around attention, beside DETR's
    grouped_matching.py  matching groups of queries, beside RF-DETR's matcher
    harness.py           agree first, then count and time
    latency/             a pair of picture and text beside a two-stage baseline
    ledger.py            rows as CSV files that only grow
    losses.py            cases of the whole criterion
    matching.py          cases of the assignment and of matching
    nearest.py           ways to find the nearest code, and how far one is off
    on_gpu.sh            all that needs a GPU, in two calls of nine minutes
    padded_matching.py   the best that composes existing operators
    peers.py             packages of others
    photographs.py       pictures drawn, with files as large as photographs'
    plugin.py            pytest --benchmark
    record.py            from pytest-benchmark's file to rows
    report.py            report.md: rows that ran side by side, as tables
    scenes.py            costs, predictions and targets, drawn
    step/                a whole step of pre-training beside a composition of what people have
    sweeps.py            cases that differ in one size, as curves
    timed_cases.py       what pytest collects: a benchmark for each provider
    timing.py            clocks and turns
"""

OPERATORS = ("attention", "data_loading", "dictionary", "losses", "matching")
"""The files of this folder that have cases."""
STEP = "step"
"""What is measured besides them if it is named, in processes of its own."""
LATENCY = "latency"
"""The same, in this process."""
