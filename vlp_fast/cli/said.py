"""What a model says of pictures, as `vlp-fast predict` prints it: for JSON, and for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlp_fast.cli.predict import Predict
    from vlp_fast.inference.pictures import Opened
    from vlp_fast.inference.predictor import Predictor

Pictures = tuple["Opened", ...]
"""Those of one sample."""
Rows = list[dict[str, Any]]


def lines_of(said: dict[str, Any]) -> Iterator[str]:
    """What was said of a sample, for people."""
    for name, results in said.items():
        if name == "caption":
            yield f"caption  {results}"
        elif name == "detect":
            yield f"objects  {len(results)}"
            yield from (_object_line(one) for one in results)
        else:
            yield from (_answer_line(one) for one in results)


def _captioned(asked: Predict, model: Predictor, samples: Sequence[Pictures]) -> list[str]:
    return list(model.caption(_firsts(samples), beams=asked.beams))


def _found(asked: Predict, model: Predictor, samples: Sequence[Pictures]) -> list[Rows]:
    every: Any = model.detect(_firsts(samples), threshold=asked.threshold)
    return [_objects(found) for found in every]


def _objects(found: Any) -> Rows:
    kinds = found.attributes or [None] * len(found)
    rows = zip(found.labels, kinds, found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [
        {"label": label, "attribute": kind, "score": score, "box": box}
        for label, kind, score, box in rows
    ]


def _answered(asked: Predict, model: Predictor, samples: Sequence[Pictures]) -> list[Rows]:
    return _of_each(model.answer, samples, asked.question, _choice)


def _entailed(asked: Predict, model: Predictor, samples: Sequence[Pictures]) -> list[Rows]:
    return _of_each(model.entails, samples, asked.hypothesis, _choice)


def _compared(asked: Predict, model: Predictor, samples: Sequence[Pictures]) -> list[Rows]:
    ((left, right),) = samples  # the two pictures that are given
    every: Any = model.compare(left, right, list(asked.sentence))
    return [[_choice(text, one) for text, one in zip(asked.sentence, every, strict=True)]]


def _matched(asked: Predict, model: Predictor, samples: Sequence[Pictures]) -> list[Rows]:
    shares: Any = model.match(_firsts(samples), list(asked.text))
    return [
        [{"asked": text, "score": share} for text, share in zip(asked.text, row, strict=True)]
        for row in shares.tolist()
    ]


def _filled(asked: Predict, model: Predictor, samples: Sequence[Pictures]) -> list[Rows]:
    return _of_each(
        model.fill,
        samples,
        asked.fill,
        lambda text, one: {"asked": text, "answer": one.text, "words": one.words},
    )


def _of_each(
    ask: Callable[..., Any],
    samples: Sequence[Pictures],
    texts: Sequence[str],
    row: Callable[[str, Any], dict[str, Any]],
) -> list[Rows]:
    """Rows of every text beside every picture, which are all asked about together."""
    firsts = _firsts(samples)
    every = ask([picture for picture in firsts for _ in texts], [*texts] * len(firsts))
    rows = [row(text, one) for text, one in zip([*texts] * len(firsts), every, strict=True)]
    return [rows[start : start + len(texts)] for start in range(0, len(rows), len(texts))]


def _choice(text: str, one: Any) -> dict[str, Any]:
    return {"asked": text, "answer": one.text, "score": one.score, "ranked": one.ranked}


def _firsts(samples: Sequence[Pictures]) -> list[Opened]:
    return [pictures[0] for pictures in samples]


SAYS: dict[str, Callable[[Predict, Predictor, Sequence[Pictures]], list[Any]]] = {
    "caption": _captioned,
    "detect": _found,
    "answer": _answered,
    "match": _matched,
    "fill": _filled,
    "entails": _entailed,
    "compare": _compared,
}
"""By ability: what is said of each sample."""


def _object_line(found: dict[str, Any]) -> str:
    name = f"{found['attribute']} {found['label']}" if found["attribute"] else found["label"]
    box = "  ".join(f"{side:.0f}" for side in found["box"])
    return f"  {found['score']:.2f}  {name}  at {box}"


def _answer_line(one: dict[str, Any]) -> str:
    answer = f"  {one['answer']}" if "answer" in one else ""
    score = f"  {one['score']:.3f}" if "score" in one else ""
    others = "".join(f"  ({name} {share:.2f})" for name, share in one.get("ranked", [])[1:3])
    return f"{one['asked']}{answer}{score}{others}"
