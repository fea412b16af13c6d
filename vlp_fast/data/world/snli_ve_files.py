"""Files of a world in SNLI-VE's layout: lines of hypotheses, each class a third of them.

Flickr30k's id of a picture is the name of its file in `images` without its suffix. The premises are
captions of the picture. It takes a picture of each class to say anything of a split's pictures.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vlp_fast.data.randomness import generator
from vlp_fast.data.world.annotations import SPLITS, dump_lines, of_split
from vlp_fast.data.world.balance import Choice, balanced, numbered, pooled
from vlp_fast.data.world.entailment import CLASSES, hypotheses
from vlp_fast.data.world.groups import Facts, Known, known_groups

HYPOTHESES = 9
"""About so many for a picture."""
_NAMES = {"train": "train", "val": "dev", "test": "test"}


def write_snli_ve(
    folder: Path, everything: Sequence[Facts], texts: Sequence[Sequence[str]], seed: int
) -> None:
    """Writes `snli_ve_{train,dev,test}.jsonl`; `texts` are the captions of each picture."""
    known = known_groups(everything)
    for number, split in enumerate(SPLITS):
        facts, captions = of_split(everything, split), of_split(texts, split)
        chosen = _chosen(facts, known, generator(seed, 0, number, "hypotheses"))
        lines = [
            _line(facts[choice.picture].scene.image_id, place, choice, captions[choice.picture])
            for choice, place in numbered(chosen)
        ]
        dump_lines(folder / f"snli_ve_{_NAMES[split]}.jsonl", lines)


def _chosen(facts: Sequence[Facts], known: Known, rng: np.random.Generator) -> list[Choice]:
    return balanced(
        pooled(facts, partial(hypotheses, known)),
        wanted=HYPOTHESES * len(facts),
        used=np.zeros(len(facts), dtype=np.int64),
        rng=rng,
        fewest=len(CLASSES),
    )


def _line(
    image_id: int, place: int, choice: Choice, captions: Sequence[str]
) -> dict[str, str | list[str]]:
    """The premise is each caption in turn; its number and the round make the pair's id."""
    again, caption = divmod(place, len(captions))
    name = f"{image_id:012d}"
    return {
        "Flickr30K_ID": name,
        "annotator_labels": [choice.answer],
        "captionID": f"{name}.jpg#{caption}",
        "gold_label": choice.answer,
        "pairID": f"{name}.jpg#{caption}r{again + 1}{choice.answer[0]}",
        "sentence1": captions[caption],
        "sentence2": choice.text,
    }
