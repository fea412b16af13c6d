"""`vlp-fast predict MODEL IMAGE ...`: what a trained model says about your own pictures."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import UseAppendAction

from vlp_fast.checks import AT_LEAST_ONE, SHARE, check
from vlp_fast.cli.output import complain, flush_output
from vlp_fast.cli.said import SAYS, Pictures, lines_of
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.inference.places import model_folder

if TYPE_CHECKING:
    from vlp_fast.inference.predictor import Predictor

USAGE = """usage: vlp-fast predict MODEL IMAGE [IMAGE ...] [--question TEXT ...] [--text TEXT ...]
       [--fill TEXT ...] [--hypothesis TEXT ...] [--sentence TEXT ...] [--json]"""
ABILITY_OF = {
    "question": "answer",
    "text": "match",
    "fill": "fill",
    "hypothesis": "entails",
    "sentence": "compare",
}
"""What each option asks for."""
UNASKED = ("caption", "detect")
"""What is said where nothing is asked for."""


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Ask a trained model about your own pictures.

    Without a question: captions and objects, of a run that has learnt them.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's folder, one that `vlp-fast export` wrote, hf://organisation/model, or a model that
    comes with the package, as e2e_vlp_small_world."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """The pictures."""
    question: UseAppendAction[tuple[str, ...]] = ()
    """A question about each picture (a run of VQA); may be given more than once, as all of these.
    """
    text: UseAppendAction[tuple[str, ...]] = ()
    """A text: how likely is it about each picture?"""
    fill: UseAppendAction[tuple[str, ...]] = ()
    """A text with [MASK] in place of words that are to be filled in (a run of pre-training)."""
    hypothesis: UseAppendAction[tuple[str, ...]] = ()
    """Does it follow from each picture (a run of visual entailment)?"""
    sentence: UseAppendAction[tuple[str, ...]] = ()
    """Is it true of two pictures, the left and the right one (a run of NLVR2)?"""
    beams: int = 4
    """Of the search for captions."""
    threshold: float = 0.5
    """Probability from which on an object is told."""
    json: bool = False
    """Print JSON, a line a picture."""
    recipe_file: Path | None = None
    """The file of a recipe of your own that the run was trained by; it is run. A file that only a
    run's folder names is not."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot be."""
        check(self, AT_LEAST_ONE, "beams")
        check(self, SHARE, "threshold")


def run(words: list[str]) -> int:
    """Show each picture to the model, and print what it says."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse

    asked: Predict = parse(Predict, words, "vlp-fast predict")
    _look_first(asked)
    folder = model_folder(asked.model)
    from vlp_fast.inference.predictor import load

    predictor = load(folder, device=asked.device, recipe_file=asked.recipe_file)
    abilities = _asked_for(asked, predictor)
    with warnings.catch_warnings():
        _tell_of_cut_texts(asked, predictor)
        return 0 if _told(asked, predictor, abilities) else 2


def _look_first(asked: Predict) -> None:
    """What takes no time is told before torch is imported."""
    if not asked.images:
        raise InputError("give a picture, as `vlp-fast predict MODEL dog.jpg`")
    if asked.sentence and len(asked.images) != 2:
        raise InputError(
            f"--sentence: received {len(asked.images)} pictures, expected 2: the left and the right"
        )
    for option in ABILITY_OF:
        if any(not text.strip() for text in getattr(asked, option)):
            raise InputError(f"--{option}: received an empty text; ask something")


def _asked_for(asked: Predict, predictor: Predictor) -> list[str]:
    """The abilities that are asked for, or what the model says unasked.

    Raises:
        InputError: for what the model has not learnt, or if nothing is left to say.
    """
    options = {option: ability for option, ability in ABILITY_OF.items() if getattr(asked, option)}
    for option, ability in options.items():
        if ability not in predictor.abilities:
            raise InputError(f"--{option}: {_abilities_of(predictor)}")
    found = [*options.values()] or [name for name in UNASKED if name in predictor.abilities]
    if not found:
        raise InputError(f"nothing is asked, and {_abilities_of(predictor)}")
    return found


def _abilities_of(predictor: Predictor) -> str:
    known = [f"--{name}" for name, ability in ABILITY_OF.items() if ability in predictor.abilities]
    unasked = [name for name in UNASKED if name in predictor.abilities]
    names = {"caption": "captions", "detect": "objects"}
    plain = [f"{' and '.join(names[name] for name in unasked)} if nothing is asked"] * bool(unasked)
    can = ", ".join([*known, *plain]) or "nothing of this command"
    return f"a run of {predictor.trained.about.recipe} has learnt {can}"


def _told(asked: Predict, predictor: Predictor, abilities: Sequence[str]) -> bool:
    """Print what is said of each picture, or of two, as it comes; False if one is broken."""
    from vlp_fast.inference.groups import in_groups

    samples = [asked.images] if asked.sentence else [(path,) for path in asked.images]
    trained, is_whole = predictor.trained, True
    is_gpu = trained.runtime.device.type == "cuda"
    for group in in_groups(samples, trained.about.data, is_gpu=is_gpu):
        readable = [sample.pictures for sample in group if not sample.error]
        said = iter(_said(asked, predictor, abilities, readable))
        for sample in group:
            if sample.error:
                flush_output()  # complaints stand where the picture would
                complain(f"passed over: {printable(sample.error)}")
                is_whole = False
            else:
                _print(sample.paths, next(said), as_json=asked.json)
        flush_output()
    return is_whole


def _said(
    asked: Predict, predictor: Predictor, abilities: Sequence[str], samples: list[Pictures]
) -> list[dict[str, Any]]:
    """What is said of each sample, by ability."""
    try:
        every = {name: SAYS[name](asked, predictor, samples) for name in abilities if samples}
    except ValueError as error:  # what is asked cannot be: here people ask, not a program
        raise InputError(str(error)) from None
    return [{name: found[place] for name, found in every.items()} for place in range(len(samples))]


def _print(paths: Sequence[Path], said: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"images": [str(path) for path in paths], **said}))
        return
    print(f"{printable(', '.join(map(str, paths)))}:")
    for line in lines_of(said):
        print(f"  {printable(line)}")


def _tell_of_cut_texts(asked: Predict, predictor: Predictor) -> None:
    """A text that is not read to its end is told once; Python's own warning of it is not shown."""
    from vlp_fast.inference.words import CutText

    for option in ABILITY_OF.keys() - {"fill"}:  # which refuses them
        for line in predictor.cut_lines(getattr(asked, option)):
            complain(f"--{option}: {line}")
    warnings.filterwarnings("ignore", category=CutText)
