"""Our own weights: of a run folder, of a checkpoint, of an exported folder, or of a model.

Heads that a task added are left. Of the heads of classes and attributes those rows are taken that
have the model's names, if all of them are there; where either side's names are not known, the whole
head if it has the model's shape.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.weights.beside import NAMES, SETTINGS, read_json
from vlp_fast.weights.checkpoints import AVERAGE, MODEL, model_file, newest_checkpoint
from vlp_fast.weights.layout import Asked, Layout, Pairs, Tensors
from vlp_fast.weights.state_file import StateFile

IN_FOLDERS = (AVERAGE, MODEL, "pytorch_model.bin")
"""What weights are called in a folder of ours and in one of Hugging Face's; the first counts."""
SHAPELESS = ("num_heads", "norm_first", "activation")
"""Settings of a model that its shapes do not show."""
HEADS = {"class_head": "classes", "attribute_head": "attributes"}
"""Heads whose rows are the data's, and what the names of the rows are called beside weights."""


def weights_in(path: Path) -> Path:
    """The file of weights that a path means: itself, or what a folder holds.

    Args:
        path: a file, a run folder (its newest checkpoint), a checkpoint, or a model's folder. Of a
            run that averages its weights, the average; `model.safetensors` itself has the others.

    Raises:
        InputError: if the folder holds none of these, or only damaged checkpoints.
    """
    if not path.is_dir():
        return path
    found = [path / name for name in IN_FOLDERS if (path / name).is_file()]
    if found:
        return found[0]
    checkpoint = newest_checkpoint(path)
    if checkpoint is None:
        raise InputError(
            f"{path}: is a folder without weights; expected a run folder with a checkpoint, or one "
            f"that holds {' or '.join(IN_FOLDERS)}"
        )
    return model_file(checkpoint)


def row_names(file: StateFile) -> dict[str, Any]:
    """What the rows of heads stand for, by `HEADS`, as far as it is known.

    A checkpoint keeps it in its state.json, an exported folder in its config.json, a converted file
    in its header.
    """
    return _in_header(file, NAMES) or _beside(file)


def _adapt(values: Tensors, file: StateFile, asked: Asked) -> dict[str, str]:
    known = row_names(file)
    reasons = {}
    for head, kind in HEADS.items():
        there, here = known.get(kind), getattr(asked, kind)
        if not isinstance(there, list) or here is None or there == list(here):
            continue
        names = [name for name in values if name.startswith(f"{head}.")]
        is_whole = all(len(values[name]) == len(there) + 1 for name in names)
        rows = _rows(there, here) if is_whole else None
        for name in names:
            if rows is None:
                del values[name]
            else:
                values[name] = values[name][rows]
        if names and rows is None:
            reasons[head] = f"the {kind} are others"
    return reasons


def _rows(there: list[object], here: Sequence[str]) -> list[int] | None:
    """Rows of these names, and the last one, which is of none; None if a name is not there."""
    numbers = {str(name): number for number, name in enumerate(there)}
    if not here or any(name not in numbers for name in here):
        return None
    return [*(numbers[name] for name in here), len(there)]


def _settings(file: StateFile) -> dict[str, object]:
    if SETTINGS in file.metadata:
        return _in_header(file, SETTINGS)
    is_checkpoint = (file.path.parent / "state.json").exists()
    run = read_json(file.path.parents[1] / "run.json") if is_checkpoint else _beside(file)
    config = run.get("config")
    known = config.get("model") if isinstance(config, dict) else None
    return {n: known[n] for n in SHAPELESS if n in known} if isinstance(known, dict) else {}


def _beside(file: StateFile) -> dict[str, Any]:
    """What a checkpoint or an exported folder says of its weights."""
    state = file.path.parent / "state.json"
    return read_json(state if state.exists() else state.with_name("config.json"))


def _in_header(file: StateFile, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(file.metadata.get(name, "{}")))
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"{printable(file.path)}: its header has unreadable {name}") from None


_PAIRS: Pairs = ((r"model\.(.+)", r"\1"), (r"((?!heads\.).+)", r"\1"))
"""A checkpoint is of a learner, which holds a model and a task's heads."""


def _own(mark: str, *systems: str) -> Layout:
    return Layout(
        name="our own",
        mark=mark,
        systems=systems,
        pairs=_PAIRS,
        adapt=_adapt,
        settings=_settings,
    )


SOHO = _own(r"(?:model\.)?mask_embedding", "Soho")
E2E_VLP = _own(r"(?:model\.)?query_positions\.weight", "E2EVLP")
IN_PART = _own(
    r"(?:model\.)?(?:text_embeddings\.word_embeddings|backbone\.conv1)\.weight", "Soho", "E2EVLP"
)
"""What `vlp-fast convert` makes of a CNN or a BERT."""
LAYOUTS = (SOHO, E2E_VLP, IN_PART)
