"""The object that `vlp_fast.load` gives: a trained model that is asked about pictures.

A picture is a path, the bytes of a file, a picture of Pillow's, an array or a tensor of uint8
(`pictures.PictureLike`). One picture has one result, a list of pictures a list of results. Results
are those of each picture alone, whatever it is asked with, but for the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from vlp_fast.checks import AT_LEAST_ONE, SHARE
from vlp_fast.errors import InputError
from vlp_fast.inference.answers import (
    answers_of,
    captions_of,
    filled_of,
    hypotheses_of,
    objects_of,
)
from vlp_fast.inference.asked import Asked, every_pair, listed, paired
from vlp_fast.inference.attention import object_attention, text_attention
from vlp_fast.inference.graphs import Graphs, captured
from vlp_fast.inference.hub import PREFIX, is_on_hub
from vlp_fast.inference.pictures import Opened, PictureLike, open_picture
from vlp_fast.inference.places import model_folder
from vlp_fast.inference.reading import ReadTogether, read_each, see
from vlp_fast.inference.results import (
    Answer,
    Filled,
    ObjectAttention,
    Objects,
    TextAttention,
    Written,
)
from vlp_fast.inference.shipped import shipped_names
from vlp_fast.inference.trained import Trained, load_trained
from vlp_fast.inference.words import cut_lines, encoded, encoded_masks
from vlp_fast.layers.compilation import compile_layers
from vlp_fast.models.soho import VisualTokens
from vlp_fast.recipes import load_file
from vlp_fast.tasks.retrieval.match_score import match_scores

T = TypeVar("T")
Pictures = PictureLike | Sequence[PictureLike]
Words = str | Sequence[str]


def load(
    folder: str | Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    graphs: bool = False,
    recipe_file: str | Path | None = None,
    revision: str | None = None,
) -> Predictor:
    """The model of a run's newest checkpoint, or of an exported folder, to be asked.

    >>> model = vlp_fast.load("runs/vqa")
    >>> model.answer("dog.jpg", "What is the dog doing?").text

    Args:
        folder: of a run, or one that `vlp-fast export` wrote. Of a run that averages its weights,
            the average. Also "hf://organisation/model" or "hf://organisation/model@revision" on
            Hugging Face's hub, or the name of a model that comes with the package
            (`shipped.shipped_names()`).
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        precision: "fp32", "bf16" or "fp16"; "auto" for fp32 on a CPU, bf16 or fp16 on a GPU.
        compile: give each Transformer layer to `torch.compile`: the first calls wait for it.
        graphs: on a GPU, record what the model computes of pictures of one size and texts of one
            length as a CUDA graph when they come for the second time, and replay it from then on.
            Not while several threads use the GPU. On a CPU it changes nothing.
        recipe_file: of a recipe of your own that the model was trained by; it is run. A file that
            only a run's folder names is not: the folder may be a stranger's.
        revision: branch, tag or commit of the model on the hub; its main branch if not given.

    Raises:
        InputError: if there is no such model, or its files do not fit one another.
        ValueError: for an unknown device or precision.
    """
    if recipe_file is not None:
        load_file(Path(recipe_file))
    trained = load_trained(model_folder(folder, revision), device, precision)
    if compile:
        compile_layers(trained.model, training=False)
    if graphs and trained.runtime.device.type == "cuda":
        trained = replace(trained, graphs=Graphs(captured))
    return Predictor(trained)


class Predictor:
    """Asks a trained model about pictures.

    All methods raise `InputError` for a picture that cannot be read, and where the model has not
    learnt what is asked; ValueError for empty texts and lists whose lengths differ.

    Args:
        trained: the model with what belongs to it.

    Attributes:
        trained: as given.
        abilities: the methods that the model has learnt to answer.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.abilities = trained.about.task.abilities

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, **settings: Any
    ) -> Predictor:
        """`load` under the name that it has elsewhere: a repository needs no "hf://".

        >>> model = Predictor.from_pretrained("organisation/model", revision="v1")

        Args:
            name: a folder, if there is one of that name; a model that comes with the package; or a
                repository on Hugging Face's hub.
            revision: as of `load`.
            settings: `device`, `precision` and what else `load` takes.

        Raises:
            InputError: as of `load`.
        """
        is_known = Path(name).exists() or str(name) in shipped_names() or is_on_hub(str(name))
        return load(name if is_known else f"{PREFIX}{name}", revision=revision, **settings)

    def __repr__(self) -> str:
        about = self.trained.about
        can = ", ".join(self.abilities) or "nothing that can be asked"
        return f"Predictor({about.recipe} after {about.step:,} steps: {can})"

    def detect(
        self, pictures: Pictures, texts: Words | None = None, *, threshold: float = 0.5
    ) -> Objects | list[Objects]:
        """Find objects, and their attributes where the model knows some.

        Args:
            pictures: one or several.
            texts: read beside the pictures, if given: one for all, or one for each.
            threshold: of the probability of the class.
        """
        self._check("detect")
        _check_share("detect", threshold)
        asked = paired(pictures, "" if texts is None else texts, ("pictures", "texts"))
        ids = [[] if texts is None else self._encoded("detect", text) for text in asked.seconds]
        opened = self._opened(asked.firsts)

        def found(group: ReadTogether) -> Iterable[Objects]:
            sizes = [opened[asked.first_of[place]].size for place in group.places]
            return objects_of(self.trained, group, sizes, threshold)

        return asked.given(self._read(opened, asked, ids, found))

    def caption(self, pictures: Pictures, *, beams: int = 4) -> str | list[str]:
        """Write captions, by beam search; with one beam the likeliest word each time."""
        self._check("caption", beams=beams)
        asked = paired(pictures, "", ("pictures", "texts"))
        opened = self._opened(asked.firsts)
        return asked.given(
            self._read(opened, asked, [[]], lambda group: captions_of(self.trained, group, beams))
        )

    def captions(
        self, pictures: Pictures, *, beams: int = 4
    ) -> tuple[Written, ...] | list[tuple[Written, ...]]:
        """Write as many captions of each picture as there are beams, the best first, with scores.

        The first is that of `caption` with as many beams, two or more.
        """
        self._check("caption", beams=beams)
        asked = paired(pictures, "", ("pictures", "texts"))
        opened = self._opened(asked.firsts)
        return asked.given(
            self._read(opened, asked, [[]], lambda group: hypotheses_of(self.trained, group, beams))
        )

    def answer(
        self, pictures: Pictures, questions: Words, *, top: int = 5
    ) -> Answer | list[Answer]:
        """Answer questions: one about each picture, several about one, or one about several.

        `Answer.ranked` has the `top` best; each has a probability of its own.
        """
        self._check("answer", top=top)
        return self._answers("answer", paired(pictures, questions, ("pictures", "questions")), top)

    def entails(self, pictures: Pictures, hypotheses: Words) -> Answer | list[Answer]:
        """Say whether hypotheses follow from pictures: entailment, neutral or contradiction.

        A model that learnt with `--task.premise image+text` is used to a caption of the picture in
        front of each hypothesis, in the same text.
        """
        self._check("entails")
        asked = paired(pictures, hypotheses, ("pictures", "hypotheses"))
        return self._answers("entails", asked, 3)

    def compare(self, left: Pictures, right: Pictures, sentences: Words) -> Answer | list[Answer]:
        """Say whether sentences are true or false of a left and a right picture."""
        self._check("compare")
        sides = paired(left, right, ("left pictures", "right pictures"))
        both = [
            _Both(sides.firsts[a], sides.seconds[b])
            for a, b in zip(sides.first_of, sides.second_of, strict=True)
        ]
        names = "pairs of pictures", "sentences"
        return self._answers(
            "compare", paired(both[0] if sides.is_one else both, sentences, names), 2
        )

    def match(self, pictures: Pictures, texts: Words) -> float | np.ndarray:
        """Say how likely each text is about each picture.

        Returns:
            (pictures, texts) float64 probabilities; a float of one picture and one text.
        """
        self._check("match")
        asked = every_pair(pictures, texts)
        ids = [self._encoded("match", text) for text in asked.seconds]

        def shares(group: ReadTogether) -> list[float]:
            odds = match_scores(self.trained.model, group.memory)
            values: list[float] = odds.double().sigmoid().tolist()
            return values

        opened = self._opened(asked.firsts)
        found = self._read(opened, asked, ids, shares, first_rows=True)
        if asked.is_one:
            return found[0]
        return np.asarray(found).reshape(len(asked.firsts), len(asked.seconds))

    def fill(self, pictures: Pictures, texts: Words, *, top: int = 5) -> Filled | list[Filled]:
        """Fill in the words that `[MASK]` stands for, as in pre-training.

        >>> model.fill("dog.jpg", "a [MASK] dog").text
        """
        self._check("fill", top=top)
        asked = paired(pictures, texts, ("pictures", "texts"))
        tokenizer, length = self.trained.tokenizer, self.trained.about.data.max_text_length
        masked = [encoded_masks(tokenizer, text, length) for text in asked.seconds]

        def filled(group: ReadTogether) -> Iterable[Filled]:
            for place, start in zip(group.places, group.packing.starts, strict=False):
                ids, places = masked[asked.second_of[place]]
                rows = group.memory[[start + mask for mask in places]]
                logits = self.trained.model.masked_word_logits(rows)
                yield filled_of(tokenizer, ids, places, logits, top)

        opened = self._opened(asked.firsts)
        return asked.given(self._read(opened, asked, [ids for ids, _ in masked], filled))

    def codes(self, pictures: Pictures) -> np.ndarray | list[np.ndarray]:
        """The codes of SOHO's dictionary that cells are nearest to: (h, w) int64."""
        self._check("codes")
        shown, is_one = listed(pictures)
        found: dict[int, np.ndarray] = {}
        for group in see(self.trained, [one.example for one in self._opened(shown)], codes=True):
            assert isinstance(group.seen, VisualTokens)
            maps = group.seen.indices.cpu().numpy().reshape(-1, *group.grid.sizes[0])
            found |= zip(group.places, maps, strict=True)
        return found[0] if is_one else [found[place] for place in range(len(shown))]

    def attention(self, pictures: Pictures, texts: Words) -> TextAttention | list[TextAttention]:
        """Tell how much each token of texts looks at each cell of pictures, by layer and head.

        >>> model.attention("dog.jpg", "a dog").weights.mean((0, 1))[2]  # "dog", (h, w)

        Any model can be asked. Attention says what is mixed into a row, which need not be why the
        model says what it says.
        """
        asked = paired(pictures, texts, ("pictures", "texts"))
        ids = [self._encoded("attention", text) for text in asked.seconds]
        opened = self._opened(asked.firsts)
        pairs = zip(asked.first_of, asked.second_of, strict=True)
        found = [text_attention(self.trained, opened[i].example, ids[j]) for i, j in pairs]
        return asked.given(found)

    def object_attention(
        self, pictures: Pictures, texts: Words | None = None, *, threshold: float = 0.5
    ) -> ObjectAttention | list[ObjectAttention]:
        """Find objects, and tell how much the query of each looks at each cell of its picture.

        Arguments are those of `detect`.
        """
        self._check("detect")
        _check_share("object_attention", threshold)
        asked = paired(pictures, "" if texts is None else texts, ("pictures", "texts"))
        ids = [[] if texts is None else self._encoded("detect", text) for text in asked.seconds]
        opened = self._opened(asked.firsts)
        pairs = zip((opened[i] for i in asked.first_of), asked.second_of, strict=True)
        return asked.given(
            [
                object_attention(self.trained, one.example, ids[j], one.size, threshold)
                for one, j in pairs
            ]
        )

    def cut_lines(self, texts: Iterable[str]) -> list[str]:
        """What is to be known of those texts that the model does not read to their end."""
        return cut_lines(self.trained.tokenizer, texts, self.trained.about.data.max_text_length)

    def _check(self, ability: str, **counts: int) -> None:
        if ability not in self.abilities:
            can = ", ".join(self.abilities) or "nothing"
            raise InputError(
                f"{ability}: a run of {self.trained.about.recipe} has not learnt it; it answers "
                f"{can}"
            )
        for name, count in counts.items():
            if not isinstance(count, Integral) or not AT_LEAST_ONE.holds(count):
                raise ValueError(
                    f"{ability}: received {name} = {count!r}, expected a whole number, 1 or more"
                )

    def _opened(self, pictures: Sequence[PictureLike]) -> list[Opened]:
        data, count = self.trained.about.data, len(pictures)
        names = [
            f"picture {n} of {count}" if count > 1 else "a picture" for n in range(1, 1 + count)
        ]
        return [
            open_picture(picture, data, index, name=names[index])
            for index, picture in enumerate(pictures)
        ]

    def _encoded(self, ability: str, text: str) -> list[int]:
        about = self.trained.about
        return encoded(self.trained.tokenizer, text, about.data.max_text_length, ability)

    def _read(
        self,
        opened: Sequence[Opened],
        asked: Asked,
        ids: Sequence[list[int]],
        make: Callable[[ReadTogether], Iterable[T]],
        *,
        first_rows: bool = False,
    ) -> list[T]:
        return read_each(
            self.trained,
            [one.example for one in opened],
            [ids[place] for place in asked.second_of],
            asked.first_of,
            make,
            first_rows=first_rows,
        )

    def _answers(self, ability: str, asked: Asked, top: int) -> Answer | list[Answer]:
        """Answers of the classifier, whose samples have one picture or several."""
        ids = [self._encoded(ability, text) for text in asked.seconds]
        if not asked.first_of:
            return []
        sides = [
            (one.left, one.right) if isinstance(one, _Both) else (one,) for one in asked.firsts
        ]
        count = len(sides[0])
        opened = self._opened([picture for side in sides for picture in side])
        samples = list(zip(asked.first_of, asked.second_of, strict=True))
        rows = read_each(
            self.trained,
            [one.example for one in opened],
            [ids[text] for _, text in samples for _ in range(count)],
            [first * count + side for first, _ in samples for side in range(count)],
            lambda group: group.memory.unbind(),
            first_rows=True,
        )
        with torch.inference_mode(), self.trained.runtime.autocast():
            joined = torch.stack(rows).view(len(samples), -1)
            return asked.given(answers_of(self.trained, joined, top))


def _check_share(ability: str, threshold: float) -> None:
    if not SHARE.holds(threshold):
        raise ValueError(f"{ability}: received threshold = {threshold}, expected {SHARE.words}")


@dataclass(frozen=True, eq=False)
class _Both:
    """A left and a right picture, which are one sample and no list of pictures."""

    left: Any
    right: Any
