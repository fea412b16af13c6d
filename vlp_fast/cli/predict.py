"""`vlp-fast predict MODEL IMAGE ...`: what a trained model says about your own pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import UseAppendAction

from vlp_fast.checks import AT_LEAST_ONE, SHARE, check
from vlp_fast.cli.output import complain
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.inference.places import model_folder

if TYPE_CHECKING:
    from vlp_fast.inference.pictures import Opened
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
    shown = [asked.images] if asked.sentence else [(path,) for path in asked.images]
    told = [_tell(asked, predictor, abilities, paths) for paths in shown]
    return 0 if all(told) else 2


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


def _tell(
    asked: Predict, predictor: Predictor, abilities: Sequence[str], paths: Sequence[Path]
) -> bool:
    """Print what is said of a picture, or of two; False if one is broken, which is told."""
    from vlp_fast.data.broken_image import BrokenImage
    from vlp_fast.inference.pictures import open_picture

    try:
        pictures = [open_picture(path, predictor.trained.about.data) for path in paths]
    except BrokenImage as error:
        complain(f"passed over: {printable(error)}")
        return False
    try:
        said = {name: SAYS[name](asked, predictor, pictures) for name in abilities}
    except ValueError as error:  # what is asked cannot be: here people ask, not a program
        raise InputError(str(error)) from None
    if asked.json:
        print(json.dumps({"images": [str(path) for path in paths], **said}))
        return True
    print(f"{printable(', '.join(map(str, paths)))}:")
    for line in _lines(said):
        print(f"  {printable(line)}")
    return True


def _captioned(asked: Predict, model: Predictor, pictures: Sequence[Opened]) -> str:
    return str(model.caption(pictures[0], beams=asked.beams))


def _found(asked: Predict, model: Predictor, pictures: Sequence[Opened]) -> list[dict[str, Any]]:
    found: Any = model.detect(pictures[0], threshold=asked.threshold)
    kinds = found.attributes or [None] * len(found)
    rows = zip(found.labels, kinds, found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [
        {"label": label, "attribute": kind, "score": score, "box": box}
        for label, kind, score, box in rows
    ]


def _answered(asked: Predict, model: Predictor, pictures: Sequence[Opened]) -> list[dict[str, Any]]:
    return _choices(asked.question, model.answer(pictures[0], list(asked.question)))


def _entailed(asked: Predict, model: Predictor, pictures: Sequence[Opened]) -> list[dict[str, Any]]:
    return _choices(asked.hypothesis, model.entails(pictures[0], list(asked.hypothesis)))


def _compared(asked: Predict, model: Predictor, pictures: Sequence[Opened]) -> list[dict[str, Any]]:
    left, right = pictures
    return _choices(asked.sentence, model.compare(left, right, list(asked.sentence)))


def _matched(asked: Predict, model: Predictor, pictures: Sequence[Opened]) -> list[dict[str, Any]]:
    (shares,) = model.match([pictures[0]], list(asked.text)).tolist()  # type: ignore[union-attr]
    return [{"asked": text, "score": share} for text, share in zip(asked.text, shares, strict=True)]


def _filled(asked: Predict, model: Predictor, pictures: Sequence[Opened]) -> list[dict[str, Any]]:
    every: Any = model.fill(pictures[0], list(asked.fill))
    return [
        {"asked": text, "answer": one.text, "words": one.words}
        for text, one in zip(asked.fill, every, strict=True)
    ]


def _choices(texts: Sequence[str], answers: Any) -> list[dict[str, Any]]:
    return [
        {"asked": text, "answer": one.text, "score": one.score, "ranked": one.ranked}
        for text, one in zip(texts, answers, strict=True)
    ]


SAYS = {
    "caption": _captioned,
    "detect": _found,
    "answer": _answered,
    "match": _matched,
    "fill": _filled,
    "entails": _entailed,
    "compare": _compared,
}


def _lines(said: dict[str, Any]) -> Iterator[str]:
    """What was said, for people."""
    for name, results in said.items():
        if name == "caption":
            yield f"caption  {results}"
        elif name == "detect":
            yield f"objects  {len(results)}"
            yield from (_object_line(one) for one in results)
        else:
            yield from (_answer_line(one) for one in results)


def _object_line(found: dict[str, Any]) -> str:
    name = f"{found['attribute']} {found['label']}" if found["attribute"] else found["label"]
    box = "  ".join(f"{side:.0f}" for side in found["box"])
    return f"  {found['score']:.2f}  {name}  at {box}"


def _answer_line(one: dict[str, Any]) -> str:
    answer = f"  {one['answer']}" if "answer" in one else ""
    score = f"  {one['score']:.3f}" if "score" in one else ""
    others = "".join(f"  ({name} {share:.2f})" for name, share in one.get("ranked", [])[1:3])
    return f"{one['asked']}{answer}{score}{others}"
