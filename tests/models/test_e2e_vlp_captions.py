"""E2E-VLP writes captions: from the picture alone, word by word, with and without a cache."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_e2e_vlp import TINY, MapBackbone, image_only, random_ids, read, tiny_model
from torch import Tensor

from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.models.e2e_vlp import E2EVLP, build_e2e_vlp
from vlp_fast.ops.grid import Grid
from vlp_fast.ops.packing import Packing, make_packing, select_sequences

START, END = 1, 2
UNWRITTEN = 22
"""A word that no text of these tests has."""
TEXTS = ([5, 9, 5, 9, 7], [9, 3], [4, 4, 4, 8])


def teach_texts(model: E2EVLP, memory: Tensor, grid: Grid, packing: Packing) -> None:
    """Fits the decoder to TEXTS: untrained, it repeats one word whatever the cache holds."""
    read = torch.tensor([token for text in TEXTS for token in [START, *text]])
    answer = torch.tensor([token for text in TEXTS for token in [*text, END]])
    captions = make_packing([len(text) + 1 for text in TEXTS], [-1] * 3, None)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(120):
        logits = model.caption_logits(read, captions, memory, grid, packing)
        loss = F.cross_entropy(logits, answer)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1


class LoudPosition(SinePosition):
    """Sine positions that drown what the memory says."""

    def table(self, grid: Grid) -> Tensor:
        return super().table(grid) * 40


def write_naively(
    model: E2EVLP, memory: Tensor, grid: Grid, packing: Packing, length: int
) -> Tensor:
    ids = torch.full((3, 1), START)
    for count in range(1, length + 1):
        captions = make_packing([count] * 3, [-1] * 3, None)
        logits = model.caption_logits(ids.flatten(), captions, memory, grid, packing)
        ids = torch.cat([ids, logits.view(3, count, -1)[:, -1:].argmax(-1)], dim=1)
    return ids[:, 1:]


def test_captions_are_scored_by_the_last_decoder_layer() -> None:
    model = tiny_model()
    memory, grid, packing = image_only(model)
    ids = random_ids(6)
    captions = make_packing([1, 3, 2], [-1] * 3, None)
    got = model.caption_logits(ids, captions, memory, grid, packing)

    # The second caption by hand: image 1 alone, cells 6 to 13.
    hidden = model.decoder(
        model.text_embeddings(ids[1:4], torch.arange(3)),
        make_packing([3], [-1], None),
        memory[6:14],
        make_packing([0], [1], grid),
        memory_positions=model.sine_position(grid)[6:14],
        causal=True,
    )[-1]
    words = model.text_embeddings.word_embeddings.weight
    torch.testing.assert_close(got[1:4], hidden @ words.T + model.caption_head.bias)


@pytest.mark.parametrize("norm_first", [False, True])
def test_generate_equals_argmax_of_caption_logits_without_a_cache(norm_first: bool) -> None:
    torch.manual_seed(0)
    model = build_e2e_vlp(replace(TINY, norm_first=norm_first)).eval()
    model.backbone = MapBackbone()
    memory, grid, packing = image_only(model)
    memory, length = memory.detach(), 8
    teach_texts(model, memory, grid, packing)

    def generate(end_id: int) -> Tensor:
        return model.generate(
            memory, grid, packing, start_id=START, end_id=end_id, max_length=length
        )

    quiet = generate(end_id=UNWRITTEN)
    assert (quiet != UNWRITTEN).all()
    torch.testing.assert_close(quiet, write_naively(model, memory, grid, packing, length))
    assert generate(END).tolist() == [text + [END] * (length - len(text)) for text in TEXTS]

    model.sine_position = LoudPosition(16)
    loud = generate(end_id=UNWRITTEN)
    torch.testing.assert_close(loud, write_naively(model, memory, grid, packing, length))
    assert not torch.equal(loud, quiet), "positions do not matter: the test shows nothing of them"


# Independence


def test_caption_logits_do_not_depend_on_the_text_input() -> None:
    # One encoder call holds the joint and the image-only sequences, as in pre-training.
    model = tiny_model()
    captions = make_packing([3, 2], [-1, -1], None)

    def outputs(text: Tensor) -> tuple[Tensor, Tensor]:
        memory, grid, packing = read(model, text, [4, 3, 0, 0], [0, 1, 0, 1])
        rows, images = select_sequences(packing, [2, 3])
        logits = model.caption_logits(random_ids(5), captions, memory[rows], grid, images)
        return logits, model.detect(memory, grid, packing).logits

    logits, found = outputs(random_ids(7))
    other_logits, other_found = outputs(random_ids(7, seed=9))
    torch.testing.assert_close(logits, other_logits, rtol=0, atol=0)
    torch.testing.assert_close(found[:, 2:], other_found[:, 2:])
    assert (found[:, :2] - other_found[:, :2]).abs().max() > 1e-3, "joint memories hold the text"


def test_caption_logits_depend_on_the_picture_and_on_earlier_words_only() -> None:
    model = tiny_model()
    memory, grid, packing = image_only(model)
    captions = make_packing([4, 1, 1], [-1] * 3, None)
    ids = random_ids(6)
    changed = ids.clone()
    changed[2] = (ids[2] + 1) % 23
    before = model.caption_logits(ids, captions, memory, grid, packing)
    after = model.caption_logits(changed, captions, memory, grid, packing)
    assert torch.equal(before[:2], after[:2])
    assert ((before - after)[2:4].abs().amax(1) > 1e-3).all()
    assert torch.equal(before[4:], after[4:])

    elsewhere = memory.clone()
    elsewhere[:6] += torch.randn(6, 16)
    other = model.caption_logits(ids, captions, elsewhere, grid, packing)
    assert ((before - other)[:4].abs().amax(1) > 1e-3).all()
    assert torch.equal(before[4:], other[4:])
