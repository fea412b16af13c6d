"""DETRs of Hugging Face, and of the published layout, find in E2E-VLP the boxes they find at home.

The published names are written in foreign_detr.py from Hugging Face's, not by the tables.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from foreign_detr import COCO, LAYOUTS, TINY, published, random_detr, saved
from safetensors.torch import save_file
from tiny_soho import PAPER
from torch import Tensor
from transformers import DetrForObjectDetection

from vlp_fast.errors import InputError
from vlp_fast.models.config import E2EVLPConfig
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing
from vlp_fast.weights.coco_classes import COCO_CLASSES
from vlp_fast.weights.load import load_weights

ONE_SIZE, PADDED = ((96, 128),), ((75, 130), (90, 64), (33, 97))
"""(height, width) of images; the second batch is 90 x 130 pixels, no multiple of the stride."""


@pytest.fixture(scope="module")
def detr() -> DetrForObjectDetection:
    return random_detr()


def detect(model: E2EVLP, sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Logits and boxes of the last layer."""
    batch = images(sizes)
    grid = make_grid(*model.grid_sizes(sizes, (batch.shape[2], batch.shape[3])))
    packing = make_packing([0] * len(sizes), range(len(sizes)), grid)
    seen = model.see(batch, grid, sizes)
    found = model.detect(model.read(torch.empty(0).long(), seen, grid, packing), grid, packing)
    return found.logits[-1], found.boxes[-1]


def images(sizes: Sequence[tuple[int, int]]) -> Tensor:
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    generator = torch.Generator().manual_seed(2)
    padded = [
        F.pad(torch.randn(3, h, w, generator=generator), (0, width - w, 0, height - h))
        for h, w in sizes
    ]
    return torch.stack(padded)


def expected(
    detr: DetrForObjectDetection, sizes: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    batch = images(sizes)
    mask = torch.zeros(len(sizes), *batch.shape[2:], dtype=torch.int64)
    for image, (height, width) in enumerate(sizes):
        mask[image, :height, :width] = 1
    found = detr(pixel_values=batch, pixel_mask=mask)
    rows = [*(number for number, _ in COCO_CLASSES), 91]
    return found.logits[..., rows], found.pred_boxes


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_and_classes_are_theirs(
    detr: DetrForObjectDetection, tmp_path: Path, layout: str
) -> None:
    model = replace(TINY, valid_cells="detr").build().eval()
    loaded = load_weights(model, saved(detr, layout, tmp_path), classes=COCO)
    assert loaded.left == ()
    assert {name.split(".")[0] for name in loaded.new} == {
        *("text_embeddings", "attribute_head", "masked_word_head", "caption_head", "matching_head")
    }
    assert "under another rule for valid cells: --model.valid-cells detr" in str(loaded)
    for sizes in (ONE_SIZE, PADDED):
        logits, boxes = detect(model, sizes)
        their_logits, their_boxes = expected(detr, sizes)
        assert their_boxes.std(1).mean() > 0.01 < their_logits.std(1).mean()  # queries differ
        torch.testing.assert_close(logits, their_logits, rtol=0, atol=1e-4)
        torch.testing.assert_close(boxes, their_boxes, rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_default_rule_for_valid_cells_is_another(
    detr: DetrForObjectDetection, tmp_path: Path
) -> None:
    """An image alone is the same; beside larger ones there are cells of padding to DETR."""
    model = TINY.build().eval()
    load_weights(model, saved(detr, "published", tmp_path), classes=COCO)
    torch.testing.assert_close(detect(model, ONE_SIZE), expected(detr, ONE_SIZE), rtol=0, atol=1e-4)
    assert (detect(model, PADDED)[0] - expected(detr, PADDED)[0]).abs().max() > 0.01


@pytest.mark.parametrize("padded", [(90, 130), (800, 1333), (33, 1056)])
def test_valid_cells_by_detr_s_rule(padded: tuple[int, int]) -> None:
    """Of images of every size, as nearest interpolation of the mask of their pixels has them."""
    with torch.device("meta"):
        model = replace(TINY, valid_cells="detr").build()
    sizes = [(1 + n % padded[0], 1 + n % padded[1]) for n in range(max(padded))]
    cells, map_size = model.grid_sizes(sizes, padded)
    for axis in (0, 1):
        mask = torch.arange(padded[axis]) < torch.tensor([size[axis] for size in sizes])[:, None]
        sampled = F.interpolate(mask[None].float(), size=map_size[axis])[0].sum(1)
        assert [size[axis] for size in cells] == sampled.tolist()


def test_classes_are_found_by_their_names(detr: DetrForObjectDetection, tmp_path: Path) -> None:
    path = saved(detr, "published", tmp_path)
    some = ("toothbrush", "person", "stop sign")
    model = replace(TINY, num_classes=3).build()
    load_weights(model, path, classes=some)
    head = detr.class_labels_classifier
    assert torch.equal(model.class_head.weight, head.weight[[90, 1, 13, 91]])
    assert torch.equal(model.class_head.bias, head.bias[[90, 1, 13, 91]])


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        (None, "no classes were named"),
        ((), "no classes were named"),
        (("person", "tabby cat"), "its classes are not COCO's"),
    ],
)
def test_other_classes_are_new(
    detr: DetrForObjectDetection, tmp_path: Path, classes: tuple[str, ...] | None, why: str
) -> None:
    model = replace(TINY, num_classes=2).build()
    before = model.class_head.weight.clone()
    loaded = load_weights(model, saved(detr, "hugging face", tmp_path), classes=classes)
    assert torch.equal(model.class_head.weight, before)
    assert f"class_head ({why})" in str(loaded)
    assert loaded.left == ("class_labels_classifier.weight", "class_labels_classifier.bias")


def test_a_head_of_other_rows_than_coco_s_is_new(
    detr: DetrForObjectDetection, tmp_path: Path
) -> None:
    """Of a DETR that somebody has trained on classes of their own: an id is no row of it."""
    state = published(detr.state_dict())
    state |= {name: state[name][:21] for name in ("class_embed.weight", "class_embed.bias")}
    torch.save(state, tmp_path / "w.pth")
    model = replace(TINY, num_classes=2).build()
    before = model.class_head.weight.clone()
    loaded = load_weights(model, tmp_path / "w.pth", classes=("person", "car"))
    assert "class_head (its classes are not COCO's)" in str(loaded)
    assert torch.equal(model.class_head.weight, before)


def test_names_of_classes_that_are_not_the_model_s(
    detr: DetrForObjectDetection, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"class_embed\.bias: \(3,\) there, \(81,\) here"):
        load_weights(TINY.build(), saved(detr, "published", tmp_path), classes=("person", "car"))


def test_six_layers_into_more(detr: DetrForObjectDetection, tmp_path: Path) -> None:
    model = replace(TINY, encoder_layers=5).build()
    fifth = model.encoder.layers[4].norm1.weight.clone()
    loaded = load_weights(model, saved(detr, "published", tmp_path), classes=COCO)
    assert "encoder.layers.2 to 4" in str(loaded).rpartition("new here")[2]
    assert torch.equal(model.encoder.layers[4].norm1.weight, fifth)
    theirs = detr.model.encoder.layers[1].mlp.fc1.weight
    assert torch.equal(model.encoder.layers[1].ffn.linear1.weight, theirs)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (replace(TINY, num_queries=7), r"query_embed\.weight: \(6, 32\) there, \(7, 32\) here"),
        (replace(TINY, num_heads=4, head_dim=8), "is of num_heads 8, this model is of 4"),
        (replace(TINY, activation="gelu"), "is of activation relu, this model is of gelu"),
        (replace(TINY, norm_first=True), "is of norm_first False, this model is of True"),
        (replace(TINY, num_heads=8, head_dim=6), r"\(96,\) there, \(144,\) here"),
        (PAPER, "is DETR, which has nothing for SOHO"),
    ],
)
def test_another_size_or_system_is_refused(
    detr: DetrForObjectDetection, tmp_path: Path, config: E2EVLPConfig, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        load_weights(config.build(), saved(detr, "published", tmp_path), classes=COCO)


def test_a_pre_norm_detr_is_refused(detr: DetrForObjectDetection, tmp_path: Path) -> None:
    state = published(detr.state_dict())
    state |= {f"transformer.encoder.norm.{name}": torch.ones(32) for name in ("weight", "bias")}
    save_file({n: v.contiguous() for n, v in state.items()}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="is of norm_first True, this model is of False"):
        load_weights(TINY.build(), tmp_path / "w.safetensors")


def test_coco_s_classes() -> None:
    ids = [number for number, _ in COCO_CLASSES]
    assert ids == sorted(ids) and len(set(COCO)) == 80
    missing = set(range(1, 91)) - set(ids)
    assert missing == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
