"""Whose the annotation files of a folder are: another task's folder says which recipes take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlp_fast.data.given_paths import check_root
from vlp_fast.data.printable import printable
from vlp_fast.data.sources.folders import annotation_file, annotation_files, is_file
from vlp_fast.errors import InputError

HEAD = 2**16
"""Bytes at the beginning of a file that tell what it holds: lines of NLVR2 have some 2,000."""
NLVR2_PLACES = ("", "data", "nlvr2", "nlvr2/data")
"""Folders, relative to the root, with `annotations/` below each, in which its files may be."""
Layouts = Callable[[Path], bool]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of annotation files.

    Attributes:
        what: they hold.
        files: what they are called.
        recipes: those that take them.
        holds: whether a folder has some.
    """

    what: str
    files: str
    recipes: str
    holds: Layouts


def refuse_foreign(root: Path, name: str) -> None:
    """Refuse a folder that has nothing for a task, and say whose it is.

    One with a file of the right name, which nobody else could have written, passes: what is wrong
    with that its reader says.

    Args:
        root: the folder.
        name: a key of `KINDS`.

    Raises:
        InputError: naming the recipes that take the folder, if any do.
    """
    check_root(root)
    kind = KINDS[name]
    if kind.holds(root):
        return
    others = described(root)
    if not others and any(map(is_file, _named(root))):
        return
    raise InputError(
        f"{printable(root)}: has no {kind.what} (looked there and in annotations/ for "
        f"{kind.files}){others}; give the folder of {name} with --data.root"
    )


def described(root: Path) -> str:
    """What a folder holds and which recipes take it, to be put behind a message; "" if unknown."""
    return "".join(
        f"; it holds {kind.what}, which recipes {kind.recipes} take"
        for kind in KINDS.values()
        if kind.holds(root)
    )


def holds_statements(path: Path) -> bool:
    """Whether a file begins as those of NLVR2 do: with an object that has an identifier."""
    return _begins(path, b"{", b'"identifier"')


def _has(*patterns: str) -> Layouts:
    return lambda root: any(annotation_files(root, pattern) for pattern in patterns)


def _has_questions(root: Path) -> bool:
    if annotation_files(root, "v2_OpenEnded_mscoco_*_questions.json"):
        return True
    return any(_begins(path, b"[", b'"question_id"') for path in _named(root))


def _has_statements(root: Path) -> bool:
    return any(
        holds_statements(path)
        for place in NLVR2_PLACES
        for pattern in ("*train.json", "*dev.json", "*test?.json")
        for path in annotation_files(root / place, pattern)
    )


def _named(root: Path) -> Iterator[Path]:
    """Files whose names more than one data set has: LXMERT's of VQA, and NLVR2's."""
    for name in ("train", "minival", "nominival", "test", "dev", "test1", "test2"):
        yield annotation_file(root, f"{name}.json")


def _begins(path: Path, first: bytes, key: bytes) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(first) and key in head


KINDS = {
    "VQA": Kind(
        what="questions of VQA",
        files="v2_OpenEnded_mscoco_*_questions.json, or LXMERT's minival.json and others",
        recipes="vqa_*",
        holds=_has_questions,
    ),
    "NLVR2": Kind(
        what="statements of NLVR2",
        files="train.json, dev.json and test1.json",
        recipes="nlvr2_*",
        holds=_has_statements,
    ),
    "SNLI-VE": Kind(
        what="hypotheses of SNLI-VE",
        files="snli_ve_*.jsonl",
        recipes="ve_*",
        holds=_has("snli_ve_*.jsonl"),
    ),
    "COCO": Kind(
        what="captions or boxes of COCO's pictures",
        files="dataset_*.json, captions_*.json and instances_*.json",
        recipes="soho_*, e2e_vlp_* and detection_*",
        holds=_has("dataset_*.json", "captions_*.json", "instances_*.json"),
    ),
    "Visual Genome": Kind(
        what="descriptions of Visual Genome's pictures",
        files="image_data.json",
        recipes="soho_*, e2e_vlp_* and detection_*",
        holds=_has("image_data.json"),
    ),
}
"""By name, what folders may hold."""
