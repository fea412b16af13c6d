"""What is new in a model that starts from several files: what none of them has."""

from pathlib import Path

from vlp_fast.weights.loaded import Loaded, new_in_all


def record(*new: str) -> Loaded:
    return Loaded(path=Path("w"), layout="a BERT", loaded=(), left=(), new=new)


def test_what_a_second_file_has_is_not_new() -> None:
    first = record("backbone.conv1.weight", "encoder.layers.3.norm1.bias", "gate")
    second = record("encoder.layers.3.norm1.bias", "encoder.layers.4.norm1.bias", "gate")
    assert new_in_all([first]) == (first.new, "backbone, encoder.layers.3, gate")
    assert new_in_all([first, second]) == (second.new[::2], "encoder.layers.3, gate")
    assert new_in_all([first, record()]) == ((), "none")


def test_layers_in_a_row_are_told_as_one() -> None:
    names = tuple(f"encoder.layers.{number}.norm1.bias" for number in range(6, 12))
    assert new_in_all([record(*names)]) == (names, "encoder.layers.6 to 11")
