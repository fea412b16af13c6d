"""What is wrong with image files: by themselves, and beside what their records say of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from vlp_fast.data.audit.cache import Look
from vlp_fast.data.audit.finding import Finding, Level
from vlp_fast.data.audit.splits import Split
from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.record import Record
from vlp_fast.data.sources.folders import names_in
from vlp_fast.data.store.packed import PackedPicture
from vlp_fast.data.upright import Raster, upright_boxes

BROKEN = {
    "unreadable": ("image files cannot be opened", "download them again, or make them readable"),
    "empty": ("image files are empty", "download them again"),
    "too large": (
        "image files are too large, or declare too many pixels",
        "shrink them; of pixels more are allowed by --max-pixels here, --data.max-pixels in a run",
    ),
    "damaged": ("image files cannot be decoded to their end", "download them again"),
}
"""By the kind of a look: what it is, and what to do."""
SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), ("JPEG", "MPO")),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF",)),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), ("PPM",)),
    **{f".{name.lower()}": (name,) for name in ("PNG", "WEBP", "GIF", "BMP")},
}
"""What files that are called so should be."""
Looks = Mapping[PictureFile, Look]
Named = dict[PictureFile, list[str]]
"""Image files with the titles of the splits that show them."""


def picture_findings(splits: Sequence[Split], looks: Looks) -> Iterator[Finding]:
    """What to say of the image files of all folders."""
    for root in dict.fromkeys(split.root for split in splits):
        own = [split for split in splits if split.root == root]
        named = _named(own)
        yield from _broken(root, named, looks)
        yield from _peculiar(root, named, looks)
        for split in own:
            yield from _sizes(split, looks)
        if not any(split.refusal for split in own):  # else nobody knows what their records name
            yield from _not_named(root, named)


def _named(splits: Iterable[Split]) -> Named:
    named: Named = {}
    for split in splits:
        for record in split.records:
            named.setdefault(record.path, []).append(split.title)
    return named


def _broken(root: Path, named: Named, looks: Looks) -> Iterator[Finding]:
    for kind, (what, remedy) in BROKEN.items():
        paths = [path for path in named if looks[path].kind == kind]
        shown = [f"{_name(path, root)}: {looks[path].problem}" for path in paths]
        yield from _found("replaced", what, remedy, shown, _where(paths, named))


def _peculiar(root: Path, named: Named, looks: Looks) -> Iterator[Finding]:
    """What a run copes with."""
    good = {path: looks[path] for path in named if not looks[path].kind}
    misnamed = [path for path, look in good.items() if not _is_called_so(path, look.format)]
    yield from _found(
        "told",
        "image files are of another format than they are called",
        "nothing: formats are told by content",
        [f"{_name(path, root)}: is {good[path].format}" for path in misnamed],
        _where(misnamed, named),
    )
    turned = [path for path, look in good.items() if look.orientation != 1]
    yield from _found(
        "told",
        "image files are stored turned or mirrored (EXIF)",
        "nothing: they are shown upright, and boxes are turned along",
        [f"{_name(path, root)}: orientation {good[path].orientation}" for path in turned],
        _where(turned, named),
    )


def _sizes(split: Split, looks: Looks) -> Iterator[Finding]:
    """Files of another size than annotated."""
    scaled: list[str] = []
    misplaced: list[str] = []
    for record in split.records:
        look = looks[record.path]
        if look.kind:
            continue
        raster = Raster(stored_size=(look.height, look.width), orientation=look.orientation)
        annotated = (record.height, record.width)
        if annotated in (raster.stored_size, raster.size):
            continue
        shown = (
            f"{_name(record.path, split.root)}: is {look.width}x{look.height}, annotated as "
            f"{record.width}x{record.height}"
        )
        is_misplaced = not _can_place(record, annotated, raster)
        (misplaced if is_misplaced else scaled).append(shown)
    yield from _found(
        "replaced",
        "image files have another shape than annotated, so their boxes cannot be placed",
        "put the files there that were annotated; models without boxes show them all the same",
        misplaced,
        split.title,
    )
    yield from _found(
        "told",
        "image files have another size than annotated",
        "nothing: boxes scale with their picture",
        scaled,
        split.title,
    )


def _can_place(record: Record, annotated: tuple[int, int], raster: Raster) -> bool:
    """Whether boxes can; without any, another shape is of no importance."""
    if not len(record.boxes):
        return True
    try:
        upright_boxes(record.boxes, annotated, raster, record.path)
    except BrokenImage:
        return False
    return True


def _not_named(root: Path, named: Named) -> Iterator[Finding]:
    """Image files beside those that records show."""
    here: dict[Path, set[str]] = {}
    for path in named:
        if isinstance(path, Path):  # shards hold what was packed, and nobody adds to them
            here.setdefault(path.parent.resolve(), set()).add(path.name)
    spare = [
        _name(folder / name, root.resolve())
        for folder, names in here.items()
        for name in sorted(names_in(folder) - names)
        if Path(name).suffix.lower() in SUFFIXES
    ]
    yield from _found(
        "told",
        "image files that no record shows",
        "nothing; if there should be none, the annotations are not whole",
        spare,
        printable(root),
    )


def _found(
    level: Level, what: str, remedy: str, examples: Sequence[str], where: str
) -> Iterator[Finding]:
    if examples:
        yield Finding(
            level=level,
            count=len(examples),
            what=what,
            where=where,
            examples=tuple(examples),
            remedy=remedy,
        )


def _where(paths: Iterable[PictureFile], named: Named) -> str:
    return ", ".join(dict.fromkeys(title for path in paths for title in named[path]))


def _name(file: PictureFile, root: Path) -> str:
    """With folders, relative to the data set's."""
    path = Path(file.full_name if isinstance(file, PackedPicture) else str(file))
    return printable(path.relative_to(root) if path.is_relative_to(root) else path)


def _is_called_so(file: PictureFile, form: str) -> bool:
    return form in SUFFIXES.get(Path(file.name).suffix.lower(), (form,))
