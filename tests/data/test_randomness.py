import subprocess
import sys

from vlp_fast.data.randomness import generator


def test_a_draw_is_the_same_in_another_process() -> None:
    program = (
        "from vlp_fast.data.randomness import generator;"
        "print(generator(7, 3, 11, 'mask').integers(2**63))"
    )
    there = int(subprocess.check_output([sys.executable, "-c", program]))
    assert there == generator(7, 3, 11, "mask").integers(2**63)


def test_every_argument_matters() -> None:
    keys = [(s, e, i, p) for s in (0, 1) for e in (0, 1) for i in (0, 1) for p in ("a", "b", "ab")]
    draws = {int(generator(*key).integers(2**63)) for key in keys}
    assert len(draws) == len(keys)


def test_draws_of_neighbouring_samples_are_uniform() -> None:
    draws = [generator(0, 0, i, "size").random() for i in range(4000)]
    tenths = [sum(t / 10 <= d < (t + 1) / 10 for d in draws) for t in range(10)]
    assert all(330 < count < 470 for count in tenths)
    assert generator(-1, 0, 0, "x").random() != generator(1, 0, 0, "x").random()
