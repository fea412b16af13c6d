"""Several data sets as one: records one behind another, one space of classes, ids kept apart.

Ids of images begin anew in each data set. Those of the first stay; those of the second are raised
by 10**12, of the third by twice as much: 1000000000042 is image 42 of the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlp_fast.data.config import Names
from vlp_fast.data.printable import printable
from vlp_fast.data.record_table import RecordTable, joined
from vlp_fast.data.records import Dataset, Truth
from vlp_fast.data.sources.drawn_world import SceneTruth
from vlp_fast.errors import InputError

ID_STEP = 10**12
"""Between the ids of one data set and those of the next."""


@dataclass(frozen=True)
class MixedTruth:
    """The truths of a mixture; of a record of which nobody knows, no text counts as true.

    Attributes:
        of: of each record, the truth of its data set, and its number there.
    """

    of: tuple[tuple[Truth | None, int], ...]

    def __call__(self, index: int, text: str) -> bool:
        truth, place = self.of[index]
        return truth is not None and truth(place, text)

    def selected(self, indices: Sequence[int]) -> MixedTruth:
        """The truth of some of the records."""
        return MixedTruth(tuple(self.of[index] for index in indices))


@dataclass(frozen=True)
class NameSpace:
    """The names of a mixture, and for each data set the new number of each of its own.

    Attributes:
        names: those of the first data set in their order, then what each other one adds.
        places: `places[k][n]` is the number of name n of data set k.
        shared: names that more than one data set has.
    """

    names: tuple[str, ...]
    places: tuple[np.ndarray, ...]
    shared: tuple[str, ...]


def mix(
    datasets: Sequence[Dataset], names: Names = "merge", *, weights: Sequence[float] = ()
) -> Dataset:
    """Put data sets together: one split of each.

    Example: `mix([coco, genome], weights=[1, 0.5])` holds all records of both. An epoch shows all
    of COCO, and half of Visual Genome, another half each time.

    Args:
        datasets: two or more, without samples of downstream tasks.
        names: "merge": classes whose names are equal but for case and whitespace are one, likewise
            attributes. "apart": none are; each name gets its data set's in front.
        weights: relative shares in an epoch, one for each data set: the largest stands for all of
            its images. None: all of all. One of weight 0 has no records in the mixture.

    Returns:
        The mixture, whose `sources` tell which record is of which data set.

    Raises:
        ValueError: if there is none, one has samples, or weights are none.
        InputError: if image ids are so large that they coincide.
    """
    _check(datasets, weights)
    titles = _titles(datasets)
    classes = _name_space([d.class_names for d in datasets], names, titles)
    attributes = _name_space([d.attribute_names for d in datasets], names, titles)
    if weights:
        datasets = [d if w else d.selected(()) for d, w in zip(datasets, weights, strict=True)]
    _check_ids(datasets)
    mixture = Dataset(
        name=" + ".join(d.name for d in datasets),
        collection=" + ".join(titles),
        records=joined(
            [
                _renumbered(dataset.table, number, classes, attributes)
                for number, dataset in enumerate(datasets)
            ]
        ),
        class_names=classes.names,
        attribute_names=attributes.names,
        describes=_truth(datasets),
        box_remedy="; ".join(dict.fromkeys(d.box_remedy for d in datasets if d.box_remedy)),
        needs_boxes=any(d.needs_boxes for d in datasets),
        foreign_captions=tuple(text for d in datasets for text in d.foreign_captions),
        sources=tuple(n for n, d in enumerate(datasets) for _ in d.records),
        titles=tuple(titles),
        weights=tuple(weights),
    )
    notes = [
        _counted(mixture, titles),
        *_merged("classes", classes, [d.class_names for d in datasets]),
        *_merged("attributes", attributes, [d.attribute_names for d in datasets]),
        *(
            f"{title}: {note}"
            for title, d in zip(titles, datasets, strict=True)
            for note in d.notes
        ),
    ]
    return replace(mixture, notes=tuple(notes))


def spread(mixture: Dataset) -> Dataset:
    """Order a mixture so that its first n records, for any n, hold as much of each data set.

    Held-out batches are then mixed as those of training are.
    """
    sources = np.asarray(mixture.sources)
    places = np.empty(len(sources))
    for number in range(sources.max() + 1):
        own = np.flatnonzero(sources == number)
        places[own] = (np.arange(len(own)) + 0.5) / max(len(own), 1)
    return mixture.selected(np.argsort(places, kind="stable").tolist())


def _check(datasets: Sequence[Dataset], weights: Sequence[float]) -> None:
    if not datasets or any(d.samples for d in datasets):
        raise ValueError(
            f"mix: received {len(datasets)} data sets, expected one or more, none of them with "
            "samples of a downstream task"
        )
    if weights and (len(weights) != len(datasets) or min(weights) < 0 or not max(weights)):
        raise ValueError(
            f"mix: received weights {tuple(weights)} for {len(datasets)} data sets, expected one "
            "for each, 0 or more and not all 0"
        )


def _titles(datasets: Sequence[Dataset]) -> list[str]:
    """What each is called without its split; numbered where two are called the same."""
    titles = [d.collection or d.name for d in datasets]
    return [
        f"{title} {titles[: place + 1].count(title)}" if titles.count(title) > 1 else title
        for place, title in enumerate(titles)
    ]


def _name_space(lists: Sequence[Sequence[str]], how: Names, titles: Sequence[str]) -> NameSpace:
    spelt: dict[str, str] = {}
    number: dict[str, int] = {}
    owners: dict[str, set[int]] = {}
    places = []
    for place, (names, title) in enumerate(zip(lists, titles, strict=True)):
        shown = [f"{title}: {name}" for name in names] if how == "apart" else names
        keys = shown if how == "apart" else [" ".join(name.casefold().split()) for name in names]
        for key, name in zip(keys, shown, strict=True):
            spelt.setdefault(key, name)
            number.setdefault(key, len(number))
            owners.setdefault(key, set()).add(place)
        places.append(np.array([number[key] for key in keys], dtype=np.int64))
    shared = tuple(spelt[key] for key, of in owners.items() if len(of) > 1)
    return NameSpace(tuple(spelt.values()), tuple(places), shared)


def _renumbered(
    table: RecordTable, number: int, classes: NameSpace, attributes: NameSpace
) -> RecordTable:
    """Records of data set `number` with their ids, classes and attributes of the mixture."""
    columns = table.solid().columns
    kinds = columns.attributes.copy()
    known = kinds >= 0
    kinds[known] = attributes.places[number][kinds[known]]
    columns = replace(
        columns,
        image_id=columns.image_id + number * ID_STEP,
        labels=classes.places[number][columns.labels],
        attributes=kinds,
    )
    return RecordTable(columns, list(table.picture_files()))


def _truth(datasets: Sequence[Dataset]) -> Truth | None:
    truths = [d.describes for d in datasets]
    if not any(truths):
        return None
    scenes = [truth.scenes for truth in truths if isinstance(truth, SceneTruth)]
    if len(scenes) == len(datasets):
        return SceneTruth(tuple(scene for part in scenes for scene in part))
    return MixedTruth(
        tuple((d.describes, place) for d in datasets for place in range(len(d.records)))
    )


def _check_ids(datasets: Sequence[Dataset]) -> None:
    ids = [
        image_id + number * ID_STEP
        for number, dataset in enumerate(datasets)
        for image_id in dataset.table.image_ids
    ]
    if len(set(ids)) < len(ids) or not all(-(2**63) <= number < 2**63 for number in ids):
        named = " + ".join(dataset.name for dataset in datasets)
        raise InputError(
            f"{named}: image ids of several data sets cannot be kept apart, for some are "
            f"{ID_STEP:.0e} or more; number the images of their files anew"
        )


def _counted(mixture: Dataset, titles: Sequence[str]) -> str:
    """How many images of each, and how many of them an epoch shows."""
    counts = mixture.source_counts(len(titles))
    shown = mixture.epoch_shares or counts
    parts = [
        f"{count:,} images of {title}" + ("" if part == count else f" ({part:,} an epoch)")
        for count, part, title in zip(counts, shown, titles, strict=False)
    ]
    weights = ", ".join(f"{weight:g}" for weight in mixture.weights)
    return f"mixed: {', '.join(parts)}" + (f"; weights {weights}" if weights else "")


def _merged(what: str, space: NameSpace, lists: Sequence[Sequence[str]]) -> list[str]:
    """A line where data sets have names at all: how many there were, and which are one now."""
    before = [len(names) for names in lists]
    if sum(before) == 0:
        return []
    line = f"{' + '.join(f'{count:,}' for count in before)} {what} are {len(space.names):,}"
    if space.shared:
        line += f", {len(space.shared)} of equal name (the first: {printable(space.shared[0])})"
    return [line]
