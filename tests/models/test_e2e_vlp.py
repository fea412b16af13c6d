"""E2E-VLP: published totals, and what its outputs may and may not depend on."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp_fast.layers.backbone import parameter_total
from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.models import build_model, config, create_model, model_names
from vlp_fast.models.config import (
    BackboneConfig,
    E2EVLPConfig,
    SohoConfig,
    model_config,
    official,
    paper,
)
from vlp_fast.models.e2e_vlp import E2EVLP, build_e2e_vlp
from vlp_fast.ops.packing import Grid, Packing, make_grid, make_packing, select_sequences

# Backbone, encoder layers: millions of parameters of the default, 12-head and literal presets.
TOTALS = {
    "r50_6": (50.1, 50.7, 46.2),
    "r101_6": (69.1, 69.7, 65.2),
    "r152_6": (84.8, 85.4, 80.8),
    "r50_12": (58.0, 58.8, 51.7),
    "r101_12": (77.0, 77.8, 70.7),
    "r152_12": (92.7, 93.5, 86.4),
}

TINY = E2EVLPConfig(
    backbone=BackboneConfig(
        depth=None, block="basic", blocks=(1, 1), widths=(4, 8), stem="small", norm="batch"
    ),
    width=16,
    num_heads=3,
    head_dim=4,
    ffn_dim=24,
    encoder_layers=2,
    decoder_layers=3,
    num_queries=5,
    vocab_size=23,
    max_positions=12,
    num_classes=7,
    num_attributes=4,
    dropout=0.0,
)

SIZES = ((2, 3), (4, 2), (1, 1))
MAP_SIZE = (4, 5)


class MapBackbone(nn.Module):
    """Stands for the CNN: the images are the feature maps."""

    out_channels = 8

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]] | None = None) -> Tensor:
        return images


def tiny_model(changed: E2EVLPConfig = TINY) -> E2EVLP:
    torch.manual_seed(0)
    model = build_e2e_vlp(changed)
    model.backbone = MapBackbone()
    # At their start biases are 0 and words small: outputs would agree for want of any difference.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def random_maps(seed: int = 1) -> Tensor:
    """Maps of three images, with NaN where they are padded."""
    maps = torch.randn(3, 8, *MAP_SIZE, generator=torch.Generator().manual_seed(seed))
    for image, (height, width) in enumerate(SIZES):
        maps[image, :, height:] = torch.nan
        maps[image, :, :, width:] = torch.nan
    return maps


def random_ids(count: int, seed: int = 2) -> Tensor:
    return torch.randint(23, (count,), generator=torch.Generator().manual_seed(seed))


def encode(
    model: E2EVLP, ids: Tensor, text_lengths: Sequence[int], image_of: Sequence[int]
) -> tuple[Tensor, Grid, Packing]:
    grid = make_grid(SIZES, MAP_SIZE)
    packing = make_packing(text_lengths, image_of, grid)
    memory = model.encode(ids, model.features(random_maps(), grid), grid, packing)
    return memory, grid, packing


def image_only(model: E2EVLP) -> tuple[Tensor, Grid, Packing]:
    return encode(model, random_ids(0), [0, 0, 0], [0, 1, 2])


# Size


@pytest.mark.parametrize("size", TOTALS)
@pytest.mark.parametrize(("column", "suffix"), [(0, ""), (1, "_12h"), (2, "_text")])
def test_totals_are_those_of_table_5(size: str, column: int, suffix: str) -> None:
    with torch.device("meta"):
        model = build_model(model_config(f"e2e_vlp_{size}{suffix}"))
    assert parameter_total(model) / 1e6 == pytest.approx(TOTALS[size][column], abs=0.1)


def test_one_word_matrix_serves_input_masked_words_and_captions() -> None:
    state = tiny_model().state_dict()
    matrices = [name for name, tensor in state.items() if tensor.shape == (23, 16)]
    assert matrices == ["embeddings.word_embeddings.weight"]


def test_stem_and_first_stage_of_the_presets_are_frozen() -> None:
    with torch.device("meta"):
        model = build_model(model_config("e2e_vlp_r50_6"))
    trains = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("conv1", "layer1.")) for name in trains)
    assert {name.split(".")[0] for name in trains} == {"layer2", "layer3", "layer4"}


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
    memory, grid, packing = encode(model, ids, [3, 0, 2], [0, 2, -1])
    cells, sine = model.features(random_maps(), grid), model.sine_position(grid)
    text = model.embeddings(ids, torch.tensor([0, 1, 2, 0, 1]))

    # Sequences: three words and image 0 (cells 0-5), image 2 (cell 14), two words.
    rows = torch.cat([text[:3], cells[:6], cells[14:15], text[3:]])
    nothing = torch.zeros(3, 16)
    positions = torch.cat([nothing, sine[:6], sine[14:15], nothing[:2]])
    torch.testing.assert_close(memory, model.encoder(rows, packing, positions))


def test_detection_reads_every_decoder_layer() -> None:
    model = tiny_model()
    memory, grid, packing = encode(model, random_ids(4), [3, 0, 1], [1, 1, 2])
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
    memory, _, packing = encode(model, random_ids(4), [3, 1], [1, 0])
    match = model.match_logits(memory[packing.first_rows])
    torch.testing.assert_close(match[1], model.matching_head(memory[11]))
    words = model.masked_word_logits(memory[packing.text_rows])
    expected = model.masked_word_head(memory[11], model.embeddings.word_embeddings.weight)
    torch.testing.assert_close(words[3], expected)


START, END = 1, 2
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


class LoudPosition(nn.Module):
    """Sine positions that drown what the memory says."""

    def forward(self, grid: Grid) -> Tensor:
        return SinePosition(16)(grid) * 40


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
        model.embeddings(ids[1:4], torch.arange(3)),
        make_packing([3], [-1], None),
        memory[6:14],
        make_packing([0], [1], grid),
        memory_positions=model.sine_position(grid)[6:14],
        causal=True,
    )[-1]
    words = model.embeddings.word_embeddings.weight
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

    quiet = generate(end_id=-1)
    torch.testing.assert_close(quiet, write_naively(model, memory, grid, packing, length))
    assert generate(END).tolist() == [text + [END] * (length - len(text)) for text in TEXTS]

    model.sine_position = LoudPosition()
    loud = generate(end_id=-1)
    torch.testing.assert_close(loud, write_naively(model, memory, grid, packing, length))
    assert not torch.equal(loud, quiet), "positions do not matter: the test shows nothing of them"


# Independence


def test_batch_mates_do_not_change_a_result() -> None:
    model = tiny_model()
    ids, caption = random_ids(6), random_ids(4, seed=3)
    memory, grid, packing = encode(model, ids, [2, 3, 1], [0, 1, 2])
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
    cells = model.features(random_maps()[1:2, :, :height, :width], alone_grid)
    alone = model.encode(ids[2:5], cells, alone_grid, alone_packing)
    found = model.detect(alone, alone_grid, alone_packing)
    alone_images = make_packing([0], [0], alone_grid)
    picture = model.encode(random_ids(0), cells, alone_grid, alone_images)
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


def test_caption_logits_do_not_depend_on_the_text_input() -> None:
    # One encoder call holds the joint and the image-only sequences, as in pre-training.
    model = tiny_model()
    captions = make_packing([3, 2], [-1, -1], None)

    def outputs(text: Tensor) -> tuple[Tensor, Tensor]:
        memory, grid, packing = encode(model, text, [4, 3, 0, 0], [0, 1, 0, 1])
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


def test_a_word_has_no_grid_position() -> None:
    # A sequence without an image must not notice where the images of the others lie.
    model = tiny_model()
    memory, _, _ = encode(model, random_ids(4), [4], [-1])
    rows = model.embeddings(random_ids(4), torch.arange(4))
    expected = model.encoder(rows, make_packing([4], [-1], None), None)
    torch.testing.assert_close(memory, expected)


# Training


def test_every_parameter_gets_a_gradient_from_the_joint_loss() -> None:
    torch.manual_seed(0)
    model = build_e2e_vlp(replace(TINY, dropout=0.1)).train()
    image_sizes = [(18, 9), (7, 13)]
    grid = make_grid(*model.grid_sizes(image_sizes, (18, 13)))
    packing = make_packing([3, 4, 0, 0], [0, 1, 0, 1], grid)
    cells = model.features(torch.randn(2, 3, 18, 13), grid, image_sizes)
    memory = model.encode(random_ids(7), cells, grid, packing)
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
        cells = model.features(torch.empty(2, 3, 18, 13), grid)
        ids = torch.empty(8, dtype=torch.int64)
        memory = model.encode(ids[:7], cells, grid, packing)
        found = model.detect(memory, grid, packing)
        pictures = model.encode(ids[:0], cells, grid, images)
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
        encode(model, random_ids(4), [5], [0])
    with pytest.raises(ValueError, match="a text of 13 tokens, expected at most 12"):
        encode(model, random_ids(13), [13], [0])
    memory, grid, packing = image_only(model)
    captions = make_packing([2, 2], [-1, -1], None)
    with pytest.raises(ValueError, match="2 captions and 3 memories"):
        model.caption_logits(random_ids(4), captions, memory, grid, packing)
    for length in (0, 13):
        with pytest.raises(ValueError, match=f"max_length {length}, expected 1 to 12"):
            model.generate(memory, grid, packing, start_id=1, end_id=2, max_length=length)


# By name


def test_names() -> None:
    assert len(model_names()) == 22
    assert {"soho_r101_12", "soho_r18_3_official", "e2e_vlp_r152_12_text"} <= set(model_names())
    with pytest.raises(ValueError, match=r"received 'e2e_vlp_r51_6'.*e2e_vlp_r50_6"):
        create_model("e2e_vlp_r51_6")


def test_pretrained_weights_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config._PRESETS, "tiny", TINY)
    monkeypatch.setitem(config._PRESETS, "wider", replace(TINY, width=20))
    source = build_e2e_vlp(TINY)
    path = tmp_path / "weights.safetensors"
    save_file(source.state_dict(), path)
    loaded = create_model("tiny", pretrained=path)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name

    with pytest.raises(ValueError, match="does not hold this model's weights"):
        create_model("wider", pretrained=path)
    with pytest.raises(ValueError, match="expected an existing safetensors file"):
        create_model("tiny", pretrained=tmp_path / "missing.safetensors")
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="does not hold this model's weights"):
        create_model("tiny", pretrained=path)


def test_names_and_configurations_need_no_torch() -> None:
    program = "import sys, vlp_fast.models as m; m.model_names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_heads", 0),
        ("width", 30),
        ("dropout", 1.5),
        ("num_queries", -1),
        ("num_attributes", -1),
    ],
)
def test_impossible_numbers_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"E2EVLPConfig: received {field}"):
        E2EVLPConfig(**{field: value})


def test_official_and_paper_switch_everything_but_sizes() -> None:
    start = SohoConfig(width=96, layers=3, num_codes=64, dropout=0.0)
    switched = official(start)
    assert (switched.width, switched.layers, switched.num_codes) == (96, 3, 64)
    assert (switched.momentum, switched.mvm_rate, switched.semantics) == (0.4, 0.015, "official")
    assert switched.pool_first and switched.conv_bn and switched.gate
    assert switched.backbone.freeze_stages == 1
    assert paper(switched) == start
    with pytest.raises(ValueError, match="7 heads, which do not divide"):
        SohoConfig(num_heads=7)
