"""E2E-VLP: what its outputs may and may not depend on."""

from dataclasses import fields, replace
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from tiny_e2e_vlp import SIZES, TINY, image_only, random_ids, random_maps, read, tiny_model
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp_fast.models.config import (
    E2EVLPConfig,
)
from vlp_fast.models.e2e_vlp import build_e2e_vlp
from vlp_fast.ops.grid import Grid, make_grid
from vlp_fast.ops.packing import Packing, make_packing, select_sequences


def test_sizes_are_rounded_up_to_cells() -> None:
    with torch.device("meta"):
        model = build_e2e_vlp(E2EVLPConfig())
    sizes, map_size = model.grid_sizes([(800, 1333), (33, 32), (1, 64)], (800, 1344))
    assert sizes == ((25, 42), (2, 1), (1, 2))
    assert map_size == (25, 42)


def test_real_backbone_fits_its_grid() -> None:
    model = build_e2e_vlp(TINY).eval()
    images = torch.randn(2, 3, 18, 13)
    grid = make_grid(*model.grid_sizes([(18, 9), (7, 13)], (18, 13)))
    cells = model.features(images, grid, [(18, 9), (7, 13)])
    assert cells.shape == (5 * 3 + 2 * 4, 16)
    maps = model.backbone(images)
    expected = model.input_projection(maps[1, :, 1, 3])
    torch.testing.assert_close(cells[15 + 1 * 4 + 3], expected)


# Definition


def test_encoder_input_row_by_row() -> None:
    model = tiny_model()
    ids = random_ids(5)
    memory, grid, packing = read(model, ids, [3, 0, 2], [0, 2, -1])
    cells, sine = model.features(random_maps(), grid), model.sine_position(grid)
    text = model.text_embeddings(ids, torch.tensor([0, 1, 2, 0, 1]))

    # Sequences: three words and image 0 (cells 0-5), image 2 (cell 14), two words.
    rows = torch.cat([text[:3], cells[:6], cells[14:15], text[3:]])
    nothing = torch.zeros(3, 16)
    positions = torch.cat([nothing, sine[:6], sine[14:15], nothing[:2]])
    torch.testing.assert_close(memory, model.encoder(rows, packing, positions))


def test_detection_reads_every_decoder_layer() -> None:
    model = tiny_model()
    memory, grid, packing = read(model, random_ids(4), [3, 0, 1], [1, 1, 2])
    found = model.detect(memory, grid, packing)
    assert found.logits.shape == (3, 3, 5, 8)
    assert found.boxes.shape == (3, 3, 5, 4)
    assert found.attribute_logits is not None
    assert found.attribute_logits.shape == (3, 3, 5, 5)

    # The second sequence by hand: image 1 alone, cells 6 to 13.
    one = make_packing([0], [1], grid)
    hidden = model.decoder(
        torch.zeros(5, 16),
        make_packing([5], [-1], None),
        memory[11:19],
        one,
        query_positions=model.query_positions.weight,
        memory_positions=model.sine_position(grid)[6:14],
    )
    torch.testing.assert_close(found.logits[:, 1], model.class_head(hidden))
    torch.testing.assert_close(found.boxes[:, 1], model.box_head(hidden))
    torch.testing.assert_close(found.attribute_logits[:, 1], model.attribute_head(hidden))


def test_attribute_head_is_optional() -> None:
    model = tiny_model(replace(TINY, num_attributes=0))
    assert model.attribute_head is None
    assert model.detect(*image_only(model)).attribute_logits is None


def test_matching_and_masked_words_read_encoder_rows() -> None:
    model = tiny_model()
    memory, _, packing = read(model, random_ids(4), [3, 1], [1, 0])
    match = model.match_logits(memory[packing.first_rows])
    torch.testing.assert_close(match[1], model.matching_head(memory[11]))
    words = model.masked_word_logits(memory[packing.text_rows])
    expected = model.masked_word_head(memory[11], model.text_embeddings.word_embeddings.weight)
    torch.testing.assert_close(words[3], expected)


def test_batch_mates_do_not_change_a_result() -> None:
    model = tiny_model()
    ids, caption = random_ids(6), random_ids(4, seed=3)
    memory, grid, packing = read(model, ids, [2, 3, 1], [0, 1, 2])
    together = model.detect(memory, grid, packing)
    rows, images = select_sequences(make_packing([0, 0, 0], [0, 1, 2], grid), [0, 1, 2])
    pictures, _, _ = image_only(model)
    captions = make_packing([3, 4, 2], [-1] * 3, None)
    caption_ids = torch.cat([random_ids(3), caption, random_ids(2)])
    logits = model.caption_logits(caption_ids, captions, pictures[rows], grid, images)
    written = model.generate(pictures, grid, images, start_id=1, end_id=2, max_length=5)

    # Image 1 alone, in a map without padding.
    height, width = SIZES[1]
    alone_grid = make_grid([SIZES[1]], SIZES[1])
    alone_packing = make_packing([3], [0], alone_grid)
    seen = model.see(random_maps()[1:2, :, :height, :width], alone_grid, [SIZES[1]])
    alone = model.read(ids[2:5], seen, alone_grid, alone_packing)
    found = model.detect(alone, alone_grid, alone_packing)
    alone_images = make_packing([0], [0], alone_grid)
    picture = model.read(random_ids(0), seen, alone_grid, alone_images)
    alone_logits = model.caption_logits(
        caption, make_packing([4], [-1], None), picture, alone_grid, alone_images
    )

    same = {"rtol": 0.0, "atol": 1e-5}
    torch.testing.assert_close(memory[8:19], alone, **same)
    torch.testing.assert_close(together.logits[:, 1:2], found.logits, **same)
    torch.testing.assert_close(together.boxes[:, 1:2], found.boxes, **same)
    torch.testing.assert_close(together.attribute_logits[:, 1:2], found.attribute_logits, **same)
    torch.testing.assert_close(logits[3:7], alone_logits, **same)
    alone_written = model.generate(
        picture, alone_grid, alone_images, start_id=1, end_id=2, max_length=5
    )
    torch.testing.assert_close(written[1:2], alone_written)


def test_a_word_has_no_grid_position() -> None:
    # A sequence without an image must not notice where the images of the others lie.
    model = tiny_model()
    memory, _, _ = read(model, random_ids(4), [4], [-1])
    rows = model.text_embeddings(random_ids(4), torch.arange(4))
    expected = model.encoder(rows, make_packing([4], [-1], None), None)
    torch.testing.assert_close(memory, expected)


# Training


def test_every_parameter_gets_a_gradient_from_the_joint_loss() -> None:
    torch.manual_seed(0)
    model = build_e2e_vlp(replace(TINY, dropout=0.1)).train()
    image_sizes = [(18, 9), (7, 13)]
    grid = make_grid(*model.grid_sizes(image_sizes, (18, 13)))
    packing = make_packing([3, 4, 0, 0], [0, 1, 0, 1], grid)
    seen = model.see(torch.randn(2, 3, 18, 13), grid, image_sizes)
    memory = model.read(random_ids(7), seen, grid, packing)
    rows, images = select_sequences(packing, [2, 3])
    found = model.detect(memory[rows], grid, images)
    assert found.attribute_logits is not None
    captions = make_packing([3, 5], [-1, -1], None)
    written = model.caption_logits(random_ids(8), captions, memory[rows], grid, images)
    loss = (
        F.cross_entropy(model.masked_word_logits(memory[packing.text_rows]), random_ids(7))
        + F.cross_entropy(model.match_logits(memory[packing.first_rows[:2]]), torch.tensor([0, 1]))
        + F.cross_entropy(found.logits.flatten(0, 2), torch.arange(30) % 8)
        + F.cross_entropy(found.attribute_logits.flatten(0, 2), torch.arange(30) % 5)
        + F.l1_loss(found.boxes, torch.rand_like(found.boxes))
        + F.cross_entropy(written, random_ids(8))
    )
    loss.backward()
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 0
    ]
    # Softmax does not change if one number is added to all scores of a row: key biases are idle.
    assert [name for name in silent if not name.endswith("key.bias")] == []


Record = TypeVar("Record", Grid, Packing)


def faked(record: Record, mode: FakeTensorMode) -> Record:
    values = {entry.name: getattr(record, entry.name) for entry in fields(record)}
    tensors = {k: mode.from_tensor(v) for k, v in values.items() if isinstance(v, Tensor)}
    return replace(record, **tensors)


def test_nothing_asks_the_device_for_a_value() -> None:
    # Fake tensors have no values: whoever wants one (item, boolean index, nonzero) fails.
    grid = make_grid([(5, 3), (2, 4)], (5, 4))
    packing = make_packing([3, 4, 0, 0], [0, 1, 0, 1], grid)
    images = make_packing([0, 0], [0, 1], grid)
    captions = make_packing([3, 5], [-1, -1], None)
    with FakeTensorMode() as mode:
        grid, packing = faked(grid, mode), faked(packing, mode)
        images, captions = faked(images, mode), faked(captions, mode)
        model = build_e2e_vlp(TINY)
        seen = model.see(torch.empty(2, 3, 18, 13), grid, [(18, 9), (7, 13)])
        ids = torch.empty(8, dtype=torch.int64)
        memory = model.read(ids[:7], seen, grid, packing)
        found = model.detect(memory, grid, packing)
        pictures = model.read(ids[:0], seen, grid, images)
        logits = model.caption_logits(ids, captions, pictures, grid, images)
        (found.logits.sum() + found.boxes.sum() + logits.sum()).backward()
        written = model.generate(pictures, grid, images, start_id=1, end_id=2, max_length=4)
        with pytest.raises(RuntimeError):
            int(written[0, 0])
    assert written.shape == (2, 4)
    assert model.query_positions.weight.grad is not None


def test_bfloat16_autocast_stays_close() -> None:
    model = tiny_model()
    memory, grid, packing = image_only(model)
    exact = model.detect(memory, grid, packing)
    with torch.autocast("cpu", torch.bfloat16):
        memory, grid, packing = image_only(model)
        found = model.detect(memory, grid, packing)
        written = model.generate(memory, grid, packing, start_id=1, end_id=2, max_length=3)
    assert found.boxes.dtype == torch.float32
    torch.testing.assert_close(found.boxes, exact.boxes, rtol=0, atol=0.05)
    assert written.shape == (3, 3)


# Bad input


def test_wrong_lengths_are_named() -> None:
    model = tiny_model()
    with pytest.raises(ValueError, match=r"shape \(4,\), expected \(5,\)"):
        read(model, random_ids(4), [5], [0])
    with pytest.raises(ValueError, match=r"a text of 13 tokens, .* 12, .*; truncate it"):
        read(model, random_ids(13), [13], [0])
    memory, grid, packing = image_only(model)
    captions = make_packing([2, 2], [-1, -1], None)
    with pytest.raises(ValueError, match="2 captions and 3 memories"):
        model.caption_logits(random_ids(4), captions, memory, grid, packing)
    for length, expected in ((0, "1 or more"), (13, "1 to 12")):
        with pytest.raises(ValueError, match=f"max_length {length}, expected {expected}"):
            model.generate(memory, grid, packing, start_id=1, end_id=2, max_length=length)


# By name
