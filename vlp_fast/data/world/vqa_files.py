"""Files of a world in VQA v2's layout: four files of questions, two of annotations.

A split asks of its own pictures, and its questions are balanced on their own: it takes two pictures
with different answers to ask anything. Pictures lie in `images`, named by their id.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vlp_fast.data.randomness import generator
from vlp_fast.data.world.annotations import SPLITS, dump, of_split
from vlp_fast.data.world.balance import Choice, balanced, numbered, pooled
from vlp_fast.data.world.groups import Facts, Known, known_groups
from vlp_fast.data.world.people import ten_answers
from vlp_fast.data.world.questions import ANSWERS, FAMILIES, Family

_Json = dict[str, Any]

QUESTIONS = 10
"""About so many for a picture."""
_RAREST = 0.05  # of the most frequent answer to a question: rarer ones are not asked for
_NAMES = {"train": "train2014", "val": "val2014", "test": "test2015"}


class _Asked(NamedTuple):
    """A question of one picture, and the family that it is of."""

    image_id: int
    question_id: int
    text: str
    answer: str
    family: Family


def write_vqa(folder: Path, everything: Sequence[Facts], seed: int) -> None:
    """Writes the questions of all splits, annotations of train and val, and the list of answers.

    test-dev2015 has the questions of every other picture of test2015.
    """
    dump(folder / "vqa_trainval_label2ans.json", ANSWERS)
    known = known_groups(everything)
    for number, split in enumerate(SPLITS):
        facts = of_split(everything, split)
        asked = _asked(facts, known, generator(seed, 0, number, "questions"))
        _write_questions(folder, _NAMES[split], asked)
        if split == "test":
            dev = {item.scene.image_id for item in facts[::2]}
            _write_questions(folder, "test-dev2015", [q for q in asked if q.image_id in dev])
        else:
            rng = generator(seed, 0, number, "answers")
            _write_annotations(folder, _NAMES[split], asked, rng)


def _asked(facts: Sequence[Facts], known: Known, rng: np.random.Generator) -> list[_Asked]:
    """Picture by picture, as many of each family as there are."""
    used = np.zeros(len(facts), dtype=np.int64)
    wanted = -(-QUESTIONS * len(facts) // len(FAMILIES))
    family_of: dict[str, Family] = {}
    chosen: list[Choice] = []
    for family in FAMILIES.values():
        pool = pooled(facts, partial(family.ask, known))
        chosen += balanced(pool, wanted=wanted, used=used, rng=rng, rarest=_RAREST)
        family_of.update(dict.fromkeys(pool, family))
    asked = []
    for choice, number in numbered(chosen):
        image_id = facts[choice.picture].scene.image_id
        question_id = 1000 * image_id + number
        family = family_of[choice.text]
        asked.append(_Asked(image_id, question_id, choice.text, choice.answer, family))
    return asked


def _write_questions(folder: Path, name: str, asked: Sequence[_Asked]) -> None:
    questions = [
        {"image_id": item.image_id, "question": item.text, "question_id": item.question_id}
        for item in asked
    ]
    content = {**_head(name), "task_type": "Open-Ended", "questions": questions}
    dump(folder / f"v2_OpenEnded_mscoco_{name}_questions.json", content)


def _write_annotations(
    folder: Path, name: str, asked: Sequence[_Asked], rng: np.random.Generator
) -> None:
    annotations = [
        {
            "question_type": item.family.question_type,
            "multiple_choice_answer": item.answer,
            "answers": ten_answers(item.answer, rng),
            "image_id": item.image_id,
            "answer_type": item.family.answer_type,
            "question_id": item.question_id,
        }
        for item in asked
    ]
    content = {**_head(name), "annotations": annotations}
    dump(folder / f"v2_mscoco_{name}_annotations.json", content)


def _head(name: str) -> _Json:
    return {
        "info": {
            "description": "questions about a drawn world",
            "url": "",
            "version": "2.0",
            "year": 2026,
            "contributor": "vlp_fast",
            "date_created": "2026-11-30 00:00:00",
        },
        "license": {"url": "", "name": "generated"},
        "data_type": "mscoco",
        "data_subtype": name,
    }
