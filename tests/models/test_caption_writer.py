"""E2E-VLP's decoder as a language model: searched with a cache, as without one, in any batch."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, replace
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from gpu import no_wait
from tiny_e2e_vlp import TINY, image_only, tiny_model
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp_fast.layers.beam_search import beam_search
from vlp_fast.layers.language_model import Texts
from vlp_fast.layers.sampling import greedy, sample
from vlp_fast.models.e2e_vlp import E2EVLP, build_e2e_vlp
from vlp_fast.ops.grid import Grid, make_grid
from vlp_fast.ops.packing import Packing, make_packing, select_sequences

START, END, LENGTH = 1, 2, 6
# Of each picture. The first word of most leads to three that are all rarer than the first text.
TEXTS = [
    [[5, 9, 7], [5, 9, 7], [4, 8], [4, 3, 6], [4, 11]],
    [[12, 13, 14, 15], [12, 13, 14, 15], [16, 8], [16, 3, 3, 3, 3], [16, 11]],
    [[17], [17], [18, 19, 20], [18, 5, 6], [18, 7, 7, 7]],
]


def teach(model: E2EVLP, memory: Tensor, grid: Grid, packing: Packing) -> None:
    """Fits the decoder to TEXTS: untrained, it repeats one word whatever is in front of it."""
    texts = [text for of_picture in TEXTS for text in of_picture]
    rows, packing = select_sequences(packing, [i for i in range(3) for _ in TEXTS[i]])
    read = torch.tensor([token for text in texts for token in [START, *text]])
    answer = torch.tensor([token for text in texts for token in [*text, END]])
    captions = make_packing([len(text) + 1 for text in texts], [-1] * len(texts), None)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        logits = model.caption_logits(read, captions, memory[rows], grid, packing)
        loss = F.cross_entropy(logits, answer)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1.1


class Pictures:
    """A model that was taught, and the memory of three pictures."""

    def __init__(self) -> None:
        self.model = tiny_model()
        memory, self.grid, self.packing = image_only(self.model)
        self.memory = memory.detach()
        teach(self.model, self.memory, self.grid, self.packing)

    def to(self, dtype: torch.dtype) -> "Pictures":
        """Changes the number format."""
        self.model, self.memory = self.model.to(dtype), self.memory.to(dtype)
        return self

    def written(self, search, pictures: Sequence[int] = (0, 1, 2), **options: object) -> Texts:
        """By a search, of these pictures in this order."""
        rows, packing = select_sequences(self.packing, pictures)
        writer = self.model.writer(self.memory[rows], self.grid, packing, start_id=START)
        return search(writer, **({"end_id": END, "max_length": LENGTH} | options))

    def log_p(self, picture: int, texts: Sequence[Sequence[int]]) -> Tensor:
        """(number of texts, V) behind equally long texts, by a pass over all of them: no cache."""
        rows, packing = select_sequences(self.packing, [picture] * len(texts))
        ids = torch.tensor([[START, *words] for words in texts])
        captions = make_packing([ids.shape[1]] * len(texts), [-1] * len(texts), None)
        with torch.no_grad():
            logits = self.model.caption_logits(
                ids.flatten(), captions, self.memory[rows], self.grid, packing
            )
        return logits.view(*ids.shape, -1)[:, -1].log_softmax(1)


@pytest.fixture(scope="module")
def taught() -> Pictures:
    return Pictures()


@pytest.fixture
def pictures(taught: Pictures) -> Pictures:
    return taught.to(torch.float64)


def slow_beam_search(pictures: Pictures, picture: int, beams: int) -> tuple[float, list[int]]:
    """One picture, list by list: (score, words)."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, LENGTH + 1):
        log_p = pictures.log_p(picture, [words for _, words in live]).tolist()
        grown = [
            (total + more, [*words, word])
            for (total, words), row in zip(live, log_p, strict=True)
            for word, more in enumerate(row)
        ]
        grown.sort(key=lambda text: -text[0])
        finished += [
            (total / ((5 + length) / 6) ** 0.9, words)
            for total, words in grown[:beams]
            if words[-1] == END
        ]
        live = [text for text in grown if text[1][-1] != END][:beams]
    cut = (live[0][0] / ((5 + LENGTH) / 6) ** 0.9, live[0][1])
    return max(finished, key=lambda text: text[0]) if finished else cut


def test_logits_with_a_cache_are_those_of_the_whole_pass(pictures: Pictures) -> None:
    model = pictures.model
    writer = model.writer(pictures.memory, pictures.grid, pictures.packing, start_id=START)
    logits, state = writer.start(num_beams=4, max_length=LENGTH)
    drawn = torch.Generator().manual_seed(4)
    texts: list[list[list[int]]] = [[[]] * 4 for _ in range(3)]
    for _ in range(LENGTH):
        for picture, beams in enumerate(texts):
            whole = pictures.log_p(picture, beams)
            got = logits[picture].log_softmax(-1)
            torch.testing.assert_close(got, whole, rtol=0, atol=1e-12)
        if len(texts[0][0]) == LENGTH - 1:
            break
        follow = torch.randint(4, (3, 4), generator=drawn)
        words = torch.randint(23, (3, 4), generator=drawn)
        texts = [
            [[*texts[i][int(f)], int(w)] for f, w in zip(follow[i], words[i], strict=True)]
            for i in range(3)
        ]
        logits, state = writer.step(words, state, follow)
    assert logits.shape == (3, 4, 23)


@pytest.mark.parametrize("beams", [1, 4])
def test_beam_search_equals_the_slow_one_without_a_cache(pictures: Pictures, beams: int) -> None:
    texts = pictures.written(beam_search, num_beams=beams)
    for picture in range(3):
        score, words = slow_beam_search(pictures, picture, beams)
        assert texts.ids[picture].tolist() == [*words, *[END] * (LENGTH - len(words))]
        assert abs(float(texts.scores[picture]) - score) < 1e-12


def test_the_searches_differ_on_this_model(pictures: Pictures) -> None:
    found = pictures.written(beam_search)
    plain = pictures.written(greedy)
    assert not torch.equal(found.ids, plain.ids), "beams find nothing: tests show little of them"
    assert len(set(map(tuple, found.ids.tolist()))) == 3, "the memory says nothing"
    one = pictures.written(beam_search, num_beams=1, alpha=0)
    assert torch.equal(one.ids, plain.ids)
    assert torch.equal(one.scores, plain.scores)


SEARCHES = {
    "beams": beam_search,
    "greedy": greedy,
    "sample": lambda model, **options: sample(model, top_p=0.9, seed=3, **options),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_batches_of_one_and_of_32_in_any_order_write_the_same(
    pictures: Pictures, name: str
) -> None:
    search = SEARCHES[name]
    alone = [pictures.written(search, [picture]) for picture in range(3)]
    order = [int(i) for i in torch.randint(3, (32,), generator=torch.Generator().manual_seed(0))]
    together = pictures.written(search, order)
    expected = torch.cat([alone[picture].ids for picture in order])
    assert torch.equal(together.ids, expected)
    scores = torch.cat([alone[picture].scores for picture in order])
    torch.testing.assert_close(together.scores, scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SEARCHES)
def test_autocast_writes_and_scores_in_float32(
    taught: Pictures, dtype: torch.dtype, name: str
) -> None:
    pictures = taught.to(torch.float32)
    exact = pictures.written(SEARCHES[name])
    with torch.autocast("cpu", dtype):
        texts = pictures.written(SEARCHES[name])
    assert texts.scores.dtype == torch.float32
    same = (texts.ids == exact.ids).all(1)
    assert same.any()
    torch.testing.assert_close(texts.scores[same], exact.scores[same], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("length", [0, 13])
def test_lengths_that_no_caption_has_are_refused(pictures: Pictures, length: int) -> None:
    rows = pictures.memory, pictures.grid, pictures.packing
    writer = pictures.model.writer(*rows, start_id=START)
    with pytest.raises(ValueError, match=f"CaptionWriter: .* {length}, expected 1 to 12, the num"):
        writer.start(num_beams=2, max_length=length)


Record = TypeVar("Record", Grid, Packing)


def faked(record: Record, mode: FakeTensorMode) -> Record:
    values = {entry.name: getattr(record, entry.name) for entry in fields(record)}
    tensors = {k: mode.from_tensor(v) for k, v in values.items() if isinstance(v, Tensor)}
    return replace(record, **tensors)


@pytest.mark.parametrize("name", SEARCHES)
def test_no_word_asks_the_device_for_a_value(name: str) -> None:
    # Fake tensors have no values: whoever wants one fails.
    grid = make_grid([(5, 3), (2, 4)], (5, 4))
    packing = make_packing([0, 0], [0, 1], grid)
    with FakeTensorMode() as mode:
        grid, packing = faked(grid, mode), faked(packing, mode)
        model: E2EVLP = build_e2e_vlp(TINY)
        writer = model.writer(torch.empty(23, 16), grid, packing, start_id=START)
        texts = SEARCHES[name](writer, end_id=END, max_length=4)
        with pytest.raises(RuntimeError):
            int(texts.ids[0, 0])
    assert texts.ids.shape == (2, 4)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_gpu_writes_without_a_wait(taught: Pictures, name: str, dtype: torch.dtype) -> None:
    search = SEARCHES[name]
    expected = taught.to(torch.float32).written(search)
    model = deepcopy(taught.model).cuda()
    grid, packing = taught.grid.to("cuda"), taught.packing.to("cuda")
    writer = model.writer(taught.memory.cuda(), grid, packing, start_id=START)
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        search(writer, end_id=END, max_length=LENGTH)  # kernels are compiled
        with no_wait():
            texts = search(writer, end_id=END, max_length=LENGTH)
    assert torch.equal(texts.ids.cpu(), expected.ids)
    torch.testing.assert_close(texts.scores.cpu(), expected.scores, rtol=0.02, atol=0.02)
