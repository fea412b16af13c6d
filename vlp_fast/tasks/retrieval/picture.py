"""The part of report.png that shows retrieval: the best held-out pictures for some captions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.retrieval.contact_sheet import Found, draw_found
from vlp_fast.tasks.retrieval.search import best
from vlp_fast.tasks.retrieval.texts import Texts

if TYPE_CHECKING:
    from vlp_fast.tasks.retrieval.retrieval import Retrieval

QUERIES, SHOWN = 2, 4
PICTURES = 32
"""That are searched: the caption's own is one of them."""


def draw_best(task: Retrieval, figure: Any, held_out: HeldOut) -> None:
    """Captions of held-out pictures, and what a model finds for them among some pictures."""
    examples = held_out.examples(PICTURES)
    scorer = task.scorer(held_out.runtime)
    queries = [e.captions[0] for e in examples[:QUERIES]]
    texts = Texts([task.encode(query) for query in queries])
    scores = scorer.scores([scorer.look(e) for e in examples], texts)[:, texts.places]
    found = []
    for place, (query, of_query) in enumerate(zip(queries, scores.T, strict=True)):
        chosen, _ = best(of_query, SHOWN)
        found.append(
            Found(
                query=f"{query}  (its own among {len(examples)})",
                pictures=[examples[n].pixels for n in chosen],
                captions=[f"{of_query[n]:+.2f}{', its own' if n == place else ''}" for n in chosen],
            )
        )
    draw_found(figure, found)
