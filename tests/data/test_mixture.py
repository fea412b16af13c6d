"""Several data sets as one: boxes keep the names of their classes, images their identity."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlp_fast.data.fingerprint import difference, fingerprint
from vlp_fast.data.mixture import ID_STEP, MixedTruth, mix, spread
from vlp_fast.data.records import Dataset, Record
from vlp_fast.data.samples import Sample
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.sources.drawn_world import SceneTruth
from vlp_fast.errors import InputError
from vlp_fast.tasks.pretraining.itm import draw_foreign_caption


def dataset(
    name: str, classes: Sequence[str], attributes: Sequence[str] = (), count: int = 3
) -> Dataset:
    """Records 1 .. n, each with a box of every class in another order."""
    draw = np.random.default_rng(len(name))
    kinds = len(classes)
    records = tuple(
        Record(
            image_id=number,
            path=Path(f"/{name}/{number}.jpg"),
            width=9,
            height=9,
            captions=(f"{name} {number}",),
            boxes=np.tile(np.array([[0, 0, 4, 4]], np.float32), (kinds, 1)),
            labels=draw.permutation(kinds),
            attributes=draw.integers(-1, len(attributes), kinds),
        )
        for number in range(1, count + 1)
    )
    return Dataset(
        name=f"{name} train",
        collection=name,
        records=records,
        class_names=tuple(classes),
        attribute_names=tuple(attributes),
        notes=("1 box dropped",),
    )


FIRST = dataset("a", ("train", "Tooth  brush"), ("red", "big"))
SECOND = dataset("b", ("zebra", " tooth brush", "TRAIN"), ("Big", "tall", "wet"), count=4)
THIRD = dataset("c", ())


def named(data: Dataset, record: Record) -> list[tuple[str, str]]:
    """The class and attribute of each box, by name."""
    classes = [data.class_names[label] for label in record.labels]
    attributes = [(*data.attribute_names, "")[number] for number in record.attributes]
    plain = [" ".join(name.lower().split()) for name in (*classes, *attributes)]
    return list(zip(plain[: len(classes)], plain[len(classes) :], strict=True))


def test_boxes_keep_the_names_of_their_classes_and_attributes() -> None:
    parts = (FIRST, SECOND, THIRD)
    mixture = mix(parts)
    assert mixture.class_names == ("train", "Tooth  brush", "zebra")
    assert mixture.attribute_names == ("red", "big", "tall", "wet")
    expected = [named(part, record) for part in parts for record in part.records]
    assert [named(mixture, record) for record in mixture.records] == expected
    assert all(r.labels.dtype == r.attributes.dtype == np.int64 for r in mixture.records)
    assert (mixture.name, mixture.collection) == ("a train + b train + c train", "a + b + c")


def test_apart_no_classes_are_one() -> None:
    mixture = mix((FIRST, SECOND, SECOND), "apart")
    assert mixture.class_names[:3] == ("a: train", "a: Tooth  brush", "b 1: zebra")
    assert len(mixture.class_names) == len(set(mixture.class_names)) == 2 + 3 + 3
    assert mixture.attribute_names[1:3] == ("a: big", "b 1: Big")
    own = [f"b 2: {SECOND.class_names[label]}" for label in SECOND.records[0].labels]
    assert [mixture.class_names[label] for label in mixture.records[7].labels] == own


def test_ids_stay_those_of_their_data_set_and_do_not_coincide() -> None:
    mixture = mix((FIRST, SECOND))
    ids = [1, 2, 3, *(ID_STEP + n for n in (1, 2, 3, 4))]
    assert [r.image_id for r in mixture.records] == ids == mixture.keys()
    assert mixture.sources == (0, 0, 0, 1, 1, 1, 1)
    far = replace(FIRST, records=(replace(FIRST.records[0], image_id=ID_STEP + 2),))
    with pytest.raises(InputError, match=r"a train \+ b train: image ids .* cannot be kept apart"):
        mix((far, SECOND))


def test_notes_tell_how_many_of_each_and_what_became_one() -> None:
    notes = mix((FIRST, SECOND, THIRD), weights=(1, 0.5, 0)).notes
    assert notes[0] == (
        "mixed: 3 images of a, 4 images of b (2 an epoch), 0 images of c; weights 1, 0.5, 0"
    )
    assert notes[1] == "2 + 3 + 0 classes are 3, 2 of equal name (the first: train)"
    assert notes[2] == "2 + 3 + 0 attributes are 4, 1 of equal name (the first: big)"
    assert notes[3] == "a: 1 box dropped"


def test_weights_are_shares_of_the_largest() -> None:
    mixture = mix((FIRST, SECOND), weights=(4, 1))
    assert (mixture.epoch_shares, mixture.epoch_length) == ((3, 1), 4)
    assert mix((FIRST, SECOND), weights=(0.01, 2)).epoch_shares == (1, 4)
    assert mix((FIRST, SECOND)).epoch_length == 7
    backwards = mixture.selected(range(6, -1, -1))
    assert backwards.sources == (1, 1, 1, 1, 0, 0, 0)
    assert backwards.epoch_shares == (3, 1)
    none = mix((FIRST, SECOND), weights=(0, 1))
    assert (len(none), none.class_names) == (4, mixture.class_names)


def test_a_held_out_beginning_has_as_much_of_each() -> None:
    mixture = spread(mix((dataset("a", (), count=30), dataset("b", (), count=10))))
    assert sum(mixture.sources[:20]) == 5
    assert sum(mixture.sources[:4]) == 1
    assert sorted(r.image_id for r in mixture.records)[0] == 1


def test_foreign_captions_are_of_the_same_data_set() -> None:
    """Another style would tell that a text is foreign."""
    mixture = mix((dataset("a", (), count=3), dataset("b", (), count=200)))
    mixture = mixture.selected([*range(100, 203), *range(100)])
    draw = np.random.default_rng(0)
    place = mixture.sources.index(0)
    own = mixture.records[place].captions[0]
    found = {draw_foreign_caption(mixture, place, draw) for _ in range(40)}
    assert found == {"a 1", "a 2", "a 3"} - {own}
    assert draw_foreign_caption(mixture, 0, draw).startswith("b ")
    # A curriculum's pool may hold none other of it yet.
    assert draw_foreign_caption(mixture, place, draw, pool=50).startswith("b ")


def test_what_is_known_of_worlds_stays_known(small_world: Path) -> None:
    world = load_dataset(small_world, "train")
    both = mix((world, world))
    assert isinstance(both.describes, SceneTruth)  # for which evaluation asks
    partly = mix((FIRST, world))
    assert isinstance(partly.describes, MixedTruth)
    caption = world.records[5].captions[0]
    for mixture, place in ((both, len(world) + 5), (both, 5), (partly, 3 + 5)):
        assert mixture.describes is not None
        assert mixture.describes(place, caption)
        assert not mixture.describes(place, "a sentence of nothing")
        assert mixture.selected([place]).describes(0, caption)  # type: ignore[misc]
    assert not partly.describes(0, caption)
    assert mix((FIRST, SECOND)).describes is None


def test_a_mixture_has_a_fingerprint() -> None:
    then = fingerprint(mix((FIRST, SECOND)))
    assert difference(then, fingerprint(mix((FIRST, SECOND)))) is None
    assert "files" in str(difference(then, fingerprint(mix((SECOND, FIRST)))))
    assert "boxes" in str(difference(then, fingerprint(mix((FIRST, SECOND), "apart"))))


def test_what_is_no_mixture_is_told() -> None:
    asked = replace(FIRST, samples=(Sample(key=1, images=(0,), text="?"),))
    for parts in ((), (FIRST, asked)):
        with pytest.raises(ValueError, match=r"mix: received \d data sets"):
            mix(parts)
    for weights in ((1,), (1, -1), (0, 0)):
        with pytest.raises(ValueError, match="mix: received weights"):
            mix((FIRST, SECOND), weights=weights)
