"""SOHO as a whole: what the paper asks of it, and what its published code does differently."""

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from tiny_soho import OFFICIAL, PAPER
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp_fast.layers.residual_block import FrozenNorm
from vlp_fast.models.config import BackboneConfig, SohoConfig
from vlp_fast.models.model import Seen
from vlp_fast.models.soho import Soho, build_soho
from vlp_fast.ops.grid import Grid, gather_cells, make_grid
from vlp_fast.ops.packing import Packing, make_packing

Record = TypeVar("Record", Grid, Packing)
IMAGE_SIZES = ((40, 70), (64, 33), (64, 72))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One batch: three images, each with two texts of its own and two foreign ones."""

    images: Tensor
    grid: Grid
    packing: Packing
    text_ids: Tensor
    noise: Tensor


def build(config: SohoConfig, *, remask: bool = False) -> Soho:
    """A model in evaluation whose norms and codes are not at their trivial start."""
    torch.manual_seed(0)
    if remask:
        config = dataclasses.replace(
            config, backbone=dataclasses.replace(config.backbone, norm="frozen", remask=True)
        )
    model = build_soho(config).eval()
    for module in model.modules():
        if isinstance(module, FrozenNorm | torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
    return model


def make_step(model: Soho, image_sizes: tuple[tuple[int, int], ...] = IMAGE_SIZES) -> Step:
    generator = torch.Generator().manual_seed(1)
    padded = (max(h for h, _ in image_sizes), max(w for _, w in image_sizes))
    images = torch.zeros(len(image_sizes), 3, *padded)
    for image, (height, width) in zip(images, image_sizes, strict=True):
        image[:, :height, :width] = torch.randn(3, height, width, generator=generator)
    sizes, map_size = model.grid_sizes(image_sizes, padded)
    grid = make_grid(sizes, map_size)
    lengths = [3 + text % 5 for text in range(4 * len(image_sizes))]
    packing = make_packing(
        lengths, [image for image in range(len(image_sizes)) for _ in range(4)], grid
    )
    return Step(
        images=images,
        grid=grid,
        packing=packing,
        text_ids=torch.randint(5, 50, (sum(lengths),), generator=generator),
        noise=torch.rand(grid.num_cells, generator=generator),
    )


def joint_loss(model: Soho, step: Step) -> Tensor:
    """MLM + MVM + ITM as in eq. 9, with the objectives reduced to their essence."""
    tokens = model.embed_image(step.images, step.grid, IMAGE_SIZES)
    masked = model.mask_labels(tokens.indices, step.grid, step.noise)
    hidden = model.read(step.text_ids, model.hide(tokens, masked), step.grid, step.packing)
    words = model.masked_word_logits(hidden[step.packing.text_rows])
    codes = model.code_logits(hidden[step.packing.grid_rows])
    cells = step.packing.grid_cells
    weights = masked[cells].float()
    mvm = F.cross_entropy(codes, tokens.indices[cells], reduction="none")
    matches = model.match_logits(hidden[step.packing.first_rows])
    is_matched = torch.arange(len(matches), device=matches.device) % 4 < 2
    return (
        F.cross_entropy(words, step.text_ids)
        + (mvm * weights).sum() / weights.sum().clamp(min=1)
        + F.cross_entropy(matches, is_matched.long())
    )


def encoder_input(model: Soho, step: Step, seen: Seen) -> Tensor:
    """The (T, D) rows that reach the encoder."""
    entered: list[Tensor] = []
    hook = model.encoder.register_forward_pre_hook(lambda _, rows: entered.append(rows[0]))
    model.read(step.text_ids, seen, step.grid, step.packing)
    hook.remove()
    return entered[0]


def test_grid_sizes_of_the_papers_resolution() -> None:
    r18 = BackboneConfig(depth=18, norm="batch")
    with torch.device("meta"):
        paper = build_soho(dataclasses.replace(PAPER, backbone=r18))
        published = build_soho(dataclasses.replace(OFFICIAL, backbone=r18))
        corrected = build_soho(
            dataclasses.replace(OFFICIAL, backbone=r18, legacy_square_mask=False)
        )
    assert paper.grid_sizes([(600, 1000)], (600, 1000)) == (((10, 16),), (10, 16))
    assert paper.grid_sizes([(1, 65), (64, 64)], (64, 65)) == (((1, 2), (1, 1)), (1, 2))
    assert published.grid_sizes([(600, 1000)], (608, 1024)) == (((9, 16),), (9, 16))
    # The square mask: a portrait loses its right third, a landscape keeps its padding.
    assert published.grid_sizes([(1000, 600)], (1024, 608)) == (((16, 6),), (16, 9))
    assert corrected.grid_sizes([(1000, 600)], (1024, 608)) == (((16, 9),), (16, 9))
    assert published.grid_sizes([(448, 777)], (608, 1024))[0] == ((7, 16),)
    assert corrected.grid_sizes([(448, 777)], (608, 1024))[0] == ((7, 13),)
    with pytest.raises(ValueError, match="no cell after rounding down"):
        published.grid_sizes([(32, 100)], (32, 100))


def test_batch_mates_do_not_change_a_result() -> None:
    model = build(PAPER, remask=True)
    step = make_step(model)
    model.dictionary.initialise_from(model.features(step.images, step.grid, IMAGE_SIZES))
    tokens = model.embed_image(step.images, step.grid, IMAGE_SIZES)
    masked = model.mask_labels(tokens.indices, step.grid, step.noise)
    hidden = model.read(step.text_ids, model.hide(tokens, masked), step.grid, step.packing)
    assert tokens.indices.unique().numel() > 15
    texts = step.text_ids.split(list(step.packing.text_lengths))
    rows = hidden.split(list(step.packing.lengths))
    for image, size in enumerate(IMAGE_SIZES):
        alone = step.images[image : image + 1, :, : size[0], : size[1]]
        grid = make_grid(*model.grid_sizes([size], size))
        own = step.grid.image_of == image
        own_tokens = model.embed_image(alone, grid, [size])
        assert torch.equal(own_tokens.indices, tokens.indices[own])
        torch.testing.assert_close(own_tokens.features, tokens.features[own], rtol=1e-5, atol=1e-5)
        own_masked = model.mask_labels(own_tokens.indices, grid, step.noise[own])
        assert torch.equal(own_masked, masked[own])
        for sequence in range(4 * image, 4 * image + 4):
            packing = make_packing([len(texts[sequence])], [0], grid)
            shown = model.hide(own_tokens, own_masked)
            expected = model.read(texts[sequence], shown, grid, packing)
            torch.testing.assert_close(rows[sequence], expected, rtol=1e-5, atol=1e-5)


def test_padding_never_wins_in_the_pool() -> None:
    """All valid features negative: behind the projection, zeros of padding would be the maximum."""
    model = build(PAPER, remask=True)
    step = make_step(model)
    torch.nn.init.constant_(model.projection.bias, -50.0)
    features = model.features(step.images, step.grid, IMAGE_SIZES)
    assert features.max() < -10
    alone = model.features(
        step.images[:1, :, :40, :70],
        make_grid(*model.grid_sizes([(40, 70)], (40, 70))),
        [(40, 70)],
    )
    torch.testing.assert_close(features[step.grid.image_of == 0], alone, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("pool_first", [False, True])
def test_switch_of_the_pool_order(pool_first: bool) -> None:
    model = build(dataclasses.replace(PAPER, pool_first=pool_first))
    step = make_step(model, ((64, 72),))
    x = model.backbone(step.images)
    pooled = F.max_pool2d(x, 2, ceil_mode=True)
    after = F.max_pool2d(model.projection(x), 2, ceil_mode=True)
    expected = model.projection(pooled) if pool_first else after
    assert not torch.allclose(model.projection(pooled), after)
    actual = model.features(step.images, step.grid, [(64, 72)])
    torch.testing.assert_close(actual, gather_cells(expected, step.grid))


def test_paper_feeds_the_codes_and_only_valid_cells_enter_the_dictionary() -> None:
    model = build(PAPER).train()
    step = make_step(model)
    old = model.dictionary.embed.clone()
    tokens = model.embed_image(step.images, step.grid, IMAGE_SIZES)
    assert torch.equal(tokens.cells, old[tokens.indices])
    assert model.dictionary.cluster_sum.sum() == step.grid.num_cells
    assert step.grid.num_cells < 3 * step.grid.map_size[0] * step.grid.map_size[1]


def test_official_neck_equals_its_description() -> None:
    """Pool, convolution, norm, codes, linear, gate: on padded maps, with batch statistics."""
    model = build(OFFICIAL)
    model.dictionary.initialise_from(torch.randn(200, 32) * 0.7)
    model.train()
    for module in (model.backbone, model.dictionary):
        module.eval()
    step = make_step(model)
    x = F.max_pool2d(model.backbone(step.images), 2)
    x = F.conv2d(x, model.projection.weight)
    x = F.batch_norm(
        x, None, None, model.projection_norm.weight, model.projection_norm.bias, training=True
    )
    rows = x.permute(0, 2, 3, 1).reshape(-1, 32)
    nearest = torch.cdist(rows.double(), model.dictionary.embed.double()).argmin(dim=1)
    codes = model.code_projection(model.dictionary.embed[nearest])
    codes = codes.view(3, *x.shape[2:], 32).permute(0, 3, 1, 2)
    scores = F.conv2d(torch.cat([codes, x], dim=1), model.gate.conv.weight)
    scores = F.batch_norm(
        scores, None, None, model.gate.norm.weight, model.gate.norm.bias, training=True
    )
    share = scores.softmax(dim=1)
    mixture = share[:, :1] * codes + share[:, 1:] * x
    tokens = model.embed_image(step.images, step.grid, IMAGE_SIZES)
    assert torch.equal(tokens.indices, nearest[step.grid.cell_index])
    torch.testing.assert_close(tokens.cells, gather_cells(mixture, step.grid), rtol=1e-4, atol=1e-5)


def test_official_padding_takes_part_in_the_counts() -> None:
    model = build(dataclasses.replace(OFFICIAL, legacy_square_mask=False)).train()
    step = make_step(model)
    num_places = 3 * step.grid.map_size[0] * step.grid.map_size[1]
    model.embed_image(step.images, step.grid, IMAGE_SIZES)
    assert step.grid.num_cells < num_places == model.dictionary.cluster_sum.sum()


def test_cnn_and_dictionary_run_once_per_image_however_many_texts() -> None:
    model = build(PAPER).train()
    step = make_step(model)
    calls: list[tuple[str, int]] = []
    for name in ("backbone", "dictionary"):
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: calls.append((name, len(inputs[0])))
        )
    joint_loss(model, step)
    assert step.packing.num_sequences == 12
    assert calls == [("backbone", 3), ("dictionary", step.grid.num_cells)]


def test_masked_cells_are_replaced_before_the_position_on_foreign_pairs_too() -> None:
    model = build(PAPER)
    step = make_step(model)
    tokens = model.embed_image(step.images, step.grid, IMAGE_SIZES)
    masked = model.mask_labels(tokens.indices, step.grid, step.noise)
    rows = encoder_input(model, step, model.hide(tokens, masked))[step.packing.grid_rows]
    cells = step.packing.grid_cells
    position = model.position(step.grid)
    hidden = F.layer_norm(
        model.mask_embedding + position, (32,), model.norm.weight, model.norm.bias
    )
    shown = F.layer_norm(tokens.cells + position, (32,), model.norm.weight, model.norm.bias)
    expected = torch.where(masked[:, None], hidden, shown)
    torch.testing.assert_close(rows, expected[cells])
    # The 12 sequences include the foreign ones: each shows every masked cell of its image.
    per_sequence = torch.zeros(12).index_add(
        0, step.packing.sequence_of[step.packing.grid_rows], masked[cells].float()
    )
    per_image = torch.zeros(3).index_add(0, step.grid.image_of, masked.float())
    assert (per_image > 0).all()
    assert torch.equal(per_sequence, per_image.repeat_interleave(4))


def test_text_rows_are_berts_embeddings_and_come_first() -> None:
    model = build(PAPER)
    step = make_step(model)
    tokens = model.embed_image(step.images, step.grid, IMAGE_SIZES)
    rows = encoder_input(model, step, tokens)
    text = model.text_embeddings
    length = step.packing.text_lengths[0]
    summed = (
        text.word_embeddings.weight[step.text_ids[:length]]
        + text.position_embeddings.weight[:length]
        + text.token_type_embeddings.weight[0]
    )
    torch.testing.assert_close(rows[:length], F.layer_norm(summed, (32,), eps=1e-12))


def test_a_text_that_is_too_long_is_refused() -> None:
    model = build(PAPER)
    step = make_step(model, ((64, 72),))
    tokens = model.embed_image(step.images, step.grid, ((64, 72),))
    packing = make_packing([13], [0], step.grid)
    with pytest.raises(ValueError, match=r"a text of 13 tokens, .* 12, .*; truncate it"):
        model.read(torch.zeros(13, dtype=torch.int64), tokens, step.grid, packing)
    with pytest.raises(ValueError, match=r"shape \(12,\), expected \(13,\)"):
        model.read(torch.zeros(12, dtype=torch.int64), tokens, step.grid, packing)


def test_only_the_published_code_pads_to_a_multiple() -> None:
    assert build(PAPER).pad_multiple == 1
    assert build(OFFICIAL).pad_multiple == 32


def test_the_configuration_chooses_the_masking_rule() -> None:
    indices = torch.tensor([5, 6, 6, 5])
    grid = make_grid([(2, 2)], (2, 2))
    # Position 0.75 * 4 = 3 shows label 5; the paper's smallest clock is that of the third cell.
    noise = torch.tensor([0.75, 0.1, 0.999, 0.1])
    shared = build(dataclasses.replace(OFFICIAL, mvm_rate=0.5)).mask_labels(indices, grid, noise)
    assert shared.tolist() == [True, False, False, True]
    assert build(PAPER).mask_labels(indices, grid, noise).tolist() == [False, True, True, False]
    never = build(dataclasses.replace(PAPER, mvm_rate=0.0)).mask_labels(indices, grid, noise)
    assert not never.any()


@pytest.mark.parametrize("config", [PAPER, OFFICIAL], ids=["paper", "official"])
def test_every_parameter_gets_a_gradient_from_the_joint_loss(config: SohoConfig) -> None:
    config = dataclasses.replace(
        config, mvm_rate=1.0, backbone=dataclasses.replace(config.backbone, freeze_stages=0)
    )
    model = build(config).train()
    model.dictionary.initialise_from(torch.randn(200, 32) * 0.7)
    step = make_step(model)
    joint_loss(model, step).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A bias of the keys shifts all scores of a query alike: its gradient is zero in theory.
        assert name.endswith("key.bias") or parameter.grad.abs().sum() > 0, name


def test_cosine_head_scores_by_similarity_with_the_codes() -> None:
    model = build(OFFICIAL)
    hidden = torch.randn(5, 32, requires_grad=True)
    logits = model.code_logits(hidden)
    codes = model.dictionary.embed
    expected = F.cosine_similarity(hidden[:, None], codes[None], dim=2)
    torch.testing.assert_close(logits, expected)
    assert not codes.requires_grad


def test_runs_under_bfloat16_autocast() -> None:
    model = build(PAPER).train()
    step = make_step(model)
    expected = joint_loss(build(PAPER).train(), step)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = joint_loss(model, step)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=0.05)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.dictionary.embed.dtype == torch.float32


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(PAPER, revival=0.1, normalize_input=True, mvm_rate=0.5),
        dataclasses.replace(PAPER, backbone=dataclasses.replace(PAPER.backbone, remask=True)),
        OFFICIAL,
    ],
    ids=["paper", "remask", "official"],
)
def test_no_step_reads_a_value_of_the_device(config: SohoConfig) -> None:
    """A fake tensor has no values: whatever would wait for them raises."""
    step = make_step(build(config))
    mode = FakeTensorMode()
    fake = Step(
        images=mode.from_tensor(step.images),
        grid=_faked(step.grid, mode),
        packing=_faked(step.packing, mode),
        text_ids=mode.from_tensor(step.text_ids),
        noise=mode.from_tensor(step.noise),
    )
    with mode:
        model = build_soho(config).train()
        joint_loss(model, fake).backward()
    assert model.mask_embedding.grad is not None


def _faked(record: Record, mode: FakeTensorMode) -> Record:
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    fakes = {k: mode.from_tensor(v) for k, v in values.items() if isinstance(v, Tensor)}
    return dataclasses.replace(record, **fakes)


@pytest.mark.gpu
@pytest.mark.parametrize("config", [PAPER, OFFICIAL], ids=["paper", "official"])
def test_no_step_waits_for_the_gpu(config: SohoConfig) -> None:
    model = build(config).train().cuda()
    step = make_step(model)
    device = Step(
        images=step.images.cuda(),
        grid=step.grid.to("cuda"),
        packing=step.packing.to("cuda"),
        text_ids=step.text_ids.cuda(),
        noise=step.noise.cuda(),
    )
    joint_loss(model, device).backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        joint_loss(model, device).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
