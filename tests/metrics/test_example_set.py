"""Which examples a figure is of."""

import random

from vlp_fast.metrics.example_set import ExampleSet, set_hash


def test_order_makes_no_difference_and_one_example_does() -> None:
    keys = list(range(1000))
    expected = set_hash(keys)
    random.Random(0).shuffle(keys)
    assert set_hash(keys) == expected
    assert set_hash(map(str, keys)) == expected
    assert len({expected, set_hash(keys[1:]), set_hash([*keys, keys[0]]), set_hash([])}) == 4
    assert set_hash(["ab", "c"]) != set_hash(["a", "bc"])
    assert set_hash(["\ud800"]) != set_hash(["?"])


def test_a_hash_is_for_good() -> None:
    assert set_hash([]) == "0" * 16
    assert set_hash([262148000, 262148001]) == "fc29af55fcd8fd78"


def test_parts_add_up_to_the_whole() -> None:
    whole, parts = ExampleSet(), [ExampleSet(), ExampleSet(), ExampleSet()]
    for key in range(1, 1235):
        whole.add(key)
        parts[key % 2].add(key)
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[0].hash == whole.hash
    assert parts[0].described("VQA val") == f"VQA val, 1,234 examples, set {whole.hash}"
