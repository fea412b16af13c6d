"""Wrong answers of downstream tasks by kind: how many, how much they cost, what they look like."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vlp_fast.data.printable import printable
from vlp_fast.data.sample_loader import SampleExample
from vlp_fast.data.samples import Question
from vlp_fast.errors import InputError
from vlp_fast.metrics.vqa_score import POINTS, points
from vlp_fast.tasks.downstream.config import AnsweringConfig
from vlp_fast.tasks.downstream.sample_task import SampleTask
from vlp_fast.viz.cards import Card, Group, cards_section
from vlp_fast.viz.looked import Looked, share_of
from vlp_fast.viz.page import Section
from vlp_fast.viz.paint import SIDE, beside, sized
from vlp_fast.viz.tables import table

KINDS, EXAMPLES = 6, 4
"""Kinds of which examples are shown, and examples of each."""
MIXED = 12
"""Of the pairs of truth and answer that are mixed up most."""
Kind = Callable[[SampleTask, Any], str]
"""Of what kind a sample is."""
WORDS = 2
"""That a question begins with, where its data set does not say what kind it is of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Said:
    """What a model says about a sample.

    Attributes:
        index: of the sample in its data set.
        sample: that was asked.
        answer: of the model, as its task spells it.
        share: its probability.
        worth: 1 if it is right, 0 if wrong, between for one that some people gave.
    """

    index: int
    sample: Any
    answer: Any
    share: float
    worth: float


def wrong_section(looked: Looked) -> Section:
    """Tables of kinds and of what is mixed up; pictures of the kinds that cost most.

    Raises:
        InputError: if nobody says the right answers, or no sample can be shown.
    """
    task = looked.task
    assert isinstance(task, SampleTask)
    answers = [one for one in said_of(looked) if task.truth(one.sample) is not None]
    if not answers:
        raise InputError(f"wrong answers: nobody says the right ones of {task.held_out.name}")
    worth = sum(one.worth for one in answers) / len(answers)
    what, lost = task.samples, sum(1 - one.worth for one in answers)
    said = (
        f"<p>{len(answers):,} held-out {what}; {100 * worth:.1f} % of the score is reached; "
        f"what is lost is worth {lost:,.1f} answers.</p>"
    )
    parts = [said, _by(task, answers, kind_of, "kind")]
    parts += [_by(task, answers, _type_of, "type of answer")]
    parts.append(_mixed_up(task, answers))
    return cards_section(
        title="Wrong answers",
        name="wrong_answers",
        groups=_examples(looked, answers),
        said="\n".join(parts),
    )


def said_of(looked: Looked) -> list[Said]:
    """The answers to the held-out samples as an evaluation has them; broken ones are left out."""
    task, held_out = looked.task, looked.held_out
    assert isinstance(task, SampleTask)
    is_open = isinstance(task.settings, AnsweringConfig)

    def measure(inputs: Any) -> list[tuple[int, int, float]]:
        with held_out.runtime.autocast():
            logits = task.logits(task.learner, inputs)
        shares = logits.sigmoid() if is_open else logits.softmax(-1)
        best, places = shares.max(-1)
        rows = zip(inputs.asked, inputs.indices, places.tolist(), best.tolist(), strict=True)
        return [(asked, place, share) for asked, shown, place, share in rows if asked == shown]

    found = []
    for batch in held_out.measured(measure):
        for index, place, share in batch:
            sample, answer = task.held_out.samples[index], task.answer(place)
            worth = worth_of(task, sample, answer)
            found.append(Said(index=index, sample=sample, answer=answer, share=share, worth=worth))
    return found


def worth_of(task: SampleTask, sample: Any, answer: Any) -> float:
    """What an answer is worth: VQA's by the official rule, others right or wrong."""
    if isinstance(sample, Question) and sample.answers:
        return points(answer, sample.answers) / POINTS
    if isinstance(sample, Question) and sample.scores:
        return dict(sample.scores).get(answer, 0.0)
    return float(answer == task.truth(sample))


def kind_of(task: SampleTask, sample: Any) -> str:
    """The kind of a question, as its data set says or by its first words; else the right answer."""
    if isinstance(sample, Question):
        return sample.question_type or " ".join(sample.text.lower().split()[:WORDS])
    return _spelt(task.truth(sample))


def _type_of(task: SampleTask, sample: Any) -> str:
    return sample.answer_type if isinstance(sample, Question) else ""


def _by(task: SampleTask, answers: Sequence[Said], kind: Kind, name: str) -> str:
    """A table of kinds, those first that cost most; nothing where there is but one."""
    grouped = _grouped(task, answers, kind)
    if len(grouped) < 2:
        return ""
    rows = [
        [
            printable(of) or "not said",
            len(group),
            sum(one.worth < 1 for one in group),
            100 * sum(one.worth for one in group) / len(group),
            _lost(group),
        ]
        for of, group in grouped
    ]
    head = [name, "asked", "not all right", "score, %", "lost"]
    return f"<h3>By {name}</h3>{table(head, rows)}"


def _mixed_up(task: SampleTask, answers: Sequence[Said]) -> str:
    """A table of what was said in place of what, the most frequent first."""
    pairs = Counter(
        (_spelt(task.truth(one.sample)), _spelt(one.answer)) for one in answers if one.worth < 1
    )
    pairs = Counter({pair: count for pair, count in pairs.items() if pair[0] != pair[1]})
    rows = [[truth, answer, count] for (truth, answer), count in pairs.most_common(MIXED)]
    head = ["most people say" if task.samples == "questions" else "truth", "the model", "times"]
    return f"<h3>What is mixed up</h3>{table(head, rows)}" if rows else ""


def _grouped(task: SampleTask, answers: Sequence[Said], kind: Kind) -> list[tuple[str, list[Said]]]:
    """Answers by kind; the kind that loses most comes first."""
    found: defaultdict[str, list[Said]] = defaultdict(list)
    for one in answers:
        found[kind(task, one.sample)].append(one)
    return sorted(found.items(), key=lambda item: (-_lost(item[1]), item[0]))


def _lost(group: Sequence[Said]) -> float:
    return sum(1 - one.worth for one in group)


def _examples(looked: Looked, answers: Sequence[Said]) -> list[Group]:
    """Of the kinds that lose most the worst answers, those that the model is surest of."""
    task = looked.task
    assert isinstance(task, SampleTask)
    groups = []
    for kind, group in _grouped(task, answers, kind_of)[:KINDS]:
        wrong = sorted(
            (one for one in group if one.worth < 1),
            key=lambda one: (one.worth, -one.share, one.index),
        )
        if wrong:
            cards = [_card(task, one) for one in wrong[:EXAMPLES]]
            heading = f"{kind or 'kind not said'}: {len(wrong)} of {len(group)} not all right"
            groups.append(Group(heading=heading, cards=cards))
    return groups


def _card(task: SampleTask, one: Said) -> Card:
    shown: SampleExample = task.held_out_examples.load(one.index, 0)
    side = SIDE // 2 if len(shown.pictures) > 1 else SIDE
    lines = [f"model: {_spelt(one.answer)} ({share_of(one.share)})", _truth(task, one.sample)]
    lines += [f"worth {one.worth:.2f}"] if one.worth > 0 else []
    return Card(
        pixels=beside([sized(picture.pixels, side) for picture in shown.pictures]),
        described="what is asked about",
        title=task.text(one.sample),
        lines=tuple(lines),
    )


def _truth(task: SampleTask, sample: Any) -> str:
    if not isinstance(sample, Question):
        return f"truth: {_spelt(task.truth(sample))}"
    if sample.answers:
        counted = Counter(sample.answers).most_common()
        return "people: " + ", ".join(f"{answer} x{count}" for answer, count in counted)
    told = sorted(sample.scores, key=lambda item: -item[1])
    return "people: " + ", ".join(f"{answer} ({score:.1f})" for answer, score in told)


def _spelt(answer: Any) -> str:
    """True and false in small letters; others as they are."""
    return str(answer).lower() if isinstance(answer, bool) else str(answer)
