"""The file of COCO's caption server and of the official evaluation code.

A json list of {"image_id": int, "caption": str}, one caption an image. The server takes it by its
name, captions_val2014_NAME_results.json, and wants val2014 and test2014; Karpathy's splits are
scored by the code alone, from a file of any name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.data.submissions.complete import refuse_other_split
from vlp_fast.data.submissions.json_list import read_list, write_list
from vlp_fast.errors import InputError

SERVER_SPLITS = ("val2014", "test2014")
SPLITS = (*SERVER_SPLITS, "val2017", "val", "test")
FIELDS = ("image_id", "caption")
_BREAK = re.compile("[\r\x0b\x0c\u2028\u2029]")
"""The official code takes a caption with one for two, and shifts all behind it to other images."""


def results_name(split: str, name: str) -> str:
    """What the server wants a file to be called.

    Example: `results_name("val2014", "soho")` is "captions_val2014_soho_results.json".
    """
    return f"captions_{split}_{name}_results.json"


def official_split(dataset: str, split: str) -> str:
    """The split as the server calls it, if it is one of its own.

    Example: of the data set "COCO val2014" it is "val2014", whatever the run calls its split.
    """
    part = dataset.removeprefix("COCO ")
    return part if part in SPLITS else split


def write_captions(
    path: Path, captions: Iterable[tuple[int, str]], *, split: str, image_ids: Collection[int]
) -> None:
    """Write the file and read it back, whole or not at all; whitespace in captions is collapsed.

    Args:
        path: the file.
        captions: image id and caption.
        split: what was captioned, one of `SPLITS`.
        image_ids: of all images of the split.

    Raises:
        InputError: if captions are missing, foreign or there twice, of another split, or the
            server would not take a file of that name.
    """
    check_split(split)
    check_name(path, split)
    rows = ((image_id, " ".join(caption.split())) for image_id, caption in captions)
    write_list(path, rows, FIELDS, split=_title(split), keys=image_ids)


def check_captions(path: Path, *, split: str, image_ids: Collection[int]) -> dict[int, str]:
    """Read a file as the server does, and more strictly.

    Returns:
        The captions by image id.

    Raises:
        InputError: if it is not what the server takes, or the official code would take a caption
            for two.
    """
    check_split(split)
    check_name(path, split)
    found = read_list(path, FIELDS, split=_title(split), keys=image_ids)
    for image_id, caption in found.items():
        if _BREAK.search(caption):
            raise InputError(
                f"{printable(path)}: the caption of image {image_id} holds a line break "
                f"({printable(repr(caption))[:60]}), and official scores would be of other images; "
                "write spaces instead"
            )
    return found


def check_split(split: str) -> None:
    """Refuse a split of which nobody scores captions.

    Raises:
        InputError: naming those that can be handed in.
    """
    refuse_other_split(split, SPLITS, "COCO captions")


def check_name(path: Path, split: str) -> None:
    """Refuse a name under which the server takes no file of the split.

    Raises:
        InputError: with a name that it takes.
    """
    if split in SERVER_SPLITS and not re.fullmatch(results_name(split, ".+"), path.name):
        raise InputError(
            f"{printable(path)}: the caption server takes {split} by name; call the file "
            f"{results_name(split, 'NAME')}"
        )


def _title(split: str) -> str:
    return f"COCO captions {split}"
