"""Which data sets a folder holds: captions with boxes, and what is asked about pictures.

A file decides by its content whose it is: `train.json` may be NLVR2's or LXMERT's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vlp_fast.data.config import Layout
from vlp_fast.data.given_paths import check_root, lies_in
from vlp_fast.data.printable import printable
from vlp_fast.data.record import Record
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import SPLITS, find_layout, load_datasets
from vlp_fast.data.sources.coco import AbsentSplit
from vlp_fast.data.sources.folders import is_file
from vlp_fast.data.sources.karpathy_file import other_files
from vlp_fast.data.sources.nlvr2 import SPLITS as NLVR2_SPLITS
from vlp_fast.data.sources.nlvr2 import load_nlvr2
from vlp_fast.data.sources.nlvr2 import split_file as nlvr2_file
from vlp_fast.data.sources.snli_ve import load_snli_ve
from vlp_fast.data.sources.snli_ve import split_file as snli_ve_file
from vlp_fast.data.sources.vqa import load_vqa, part_files
from vlp_fast.data.sources.whose import holds_statements
from vlp_fast.errors import InputError

CAPTIONS = "captions"
"""The task of data sets that pre-training learns from."""
Load = Callable[[str], Dataset]


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How folders are read; as of `DataConfig`.

    Attributes:
        layout: of the captions and boxes.
        splits: of these, those to look at; None for all, of which train and val have to be there.
        karpathy_file: his file, for the folder that it lies in.
        objects_vocabulary: Visual Genome's class names.
        attributes_vocabulary: its attribute names.
    """

    layout: Layout = "auto"
    splits: tuple[str, ...] = ()
    karpathy_file: Path | None = None
    objects_vocabulary: Path | None = None
    attributes_vocabulary: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One split of one data set of a folder.

    Attributes:
        root: the folder.
        label: what it is called in messages.
        task: CAPTIONS, "VQA", "NLVR2" or "SNLI-VE".
        name: of the split.
        layout: of the folder's captions and boxes; "" of other tasks.
        dataset: its records, those without a file left out; None if it is refused.
        refusal: why it is, in the words of a run.
    """

    root: Path
    label: str = ""
    task: str
    name: str
    layout: str = ""
    dataset: Dataset | None = None
    refusal: str = ""

    @property
    def title(self) -> str:
        """Data set and split, and the folder where there are several."""
        name = self.dataset.name if self.dataset else f"{self.task} {self.name}"
        return printable(f"{self.label}: {name}" if self.label else name)

    @property
    def records(self) -> Sequence[Record]:
        """Its records, if it could be read."""
        return self.dataset.records if self.dataset else ()

    @property
    def is_train(self) -> bool:
        """Whether it is learnt from."""
        return self.name == "train"


def read_folders(roots: Sequence[Path], options: SplitOptions) -> list[Split]:
    """Read every split that folders have.

    Raises:
        InputError: if one is not there, or there is nothing that is known in it.
    """
    names = [root.resolve().name for root in roots]
    labels = names if len(set(names)) == len(roots) else list(map(str, roots))
    return [
        replace(split, label=label if len(roots) > 1 else "")
        for root, label in zip(roots, labels, strict=True)
        for split in read_folder(root, options)
    ]


def read_folder(root: Path, options: SplitOptions) -> list[Split]:
    """Read every split that a folder has; raises as `read_folders`."""
    check_root(root)
    captions, reason = _captions(root, options)
    splits = [*captions, *_vqa(root), *_nlvr2(root), *_snli_ve(root)]
    if not splits:
        raise InputError(f"{reason}, or one of VQA's, NLVR2's or SNLI-VE's files")
    return splits


def _captions(root: Path, options: SplitOptions) -> tuple[list[Split], InputError | None]:
    """The splits of captions and boxes; none, and why, where there are no such files."""
    file = options.karpathy_file
    file = file if file and lies_in(file, root) else None
    try:
        layout = find_layout(root, layout=options.layout, karpathy_file=file)
    except InputError as error:
        if not other_files(root):
            return [], error
        return [Split(root=root, task=CAPTIONS, name="all", refusal=str(error))], None
    load = partial(
        load_datasets,
        root,
        layout=layout,
        karpathy_file=file,
        missing_images="drop",
        objects_vocabulary=options.objects_vocabulary,
        attributes_vocabulary=options.attributes_vocabulary,
    )
    names = options.splits or SPLITS
    try:  # at once, for then each file is read once
        datasets = load(names)
    except InputError:
        one = lambda name: load((name,))[0]
        is_all = not options.splits
        read = [_read(root, CAPTIONS, name, one, layout, may_be_absent=is_all) for name in names]
        return [split for split in read if split], None
    return [
        Split(root=root, task=CAPTIONS, name=name, layout=layout, dataset=dataset)
        for name, dataset in zip(names, datasets, strict=True)
    ], None


def _vqa(root: Path) -> Iterator[Split]:
    load = partial(load_vqa, root, missing_images="drop")
    measured = ("val",) if part_files(root, "val") else ("minival", "nominival")
    for part in ("train", *measured, "test", "test-dev"):
        if part_files(root, part):
            yield from _present(root, "VQA", part, load)


def _nlvr2(root: Path) -> Iterator[Split]:
    load = partial(load_nlvr2, root, missing_images="drop")
    for name in NLVR2_SPLITS:
        if holds_statements(nlvr2_file(root, name)):
            yield from _present(root, "NLVR2", name, load)


def _snli_ve(root: Path) -> Iterator[Split]:
    load = partial(load_snli_ve, root, missing_images="drop")
    for name in ("train", "dev", "test"):
        if is_file(snli_ve_file(root, name)):
            yield from _present(root, "SNLI-VE", name, load)


def _present(root: Path, task: str, name: str, load: Load) -> Iterator[Split]:
    split = _read(root, task, name, load)
    if split:
        yield split


def _read(
    root: Path, task: str, name: str, load: Load, layout: str = "", *, may_be_absent: bool = False
) -> Split | None:
    """A split, or why it is refused; None for a test split that is not there."""
    try:
        return Split(root=root, task=task, name=name, layout=layout, dataset=load(name))
    except AbsentSplit as error:
        if may_be_absent and name == "test":
            return None
        return Split(root=root, task=task, name=name, layout=layout, refusal=str(error))
    except InputError as error:
        return Split(root=root, task=task, name=name, layout=layout, refusal=str(error))
