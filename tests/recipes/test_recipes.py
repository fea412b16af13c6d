"""Every recipe holds its paper's numbers; the runs for a laptop are what their names say."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.data.order import SampleOrder
from vlp_fast.engine.config import RunConfig
from vlp_fast.errors import InputError
from vlp_fast.models.config import E2EVLPConfig, SohoConfig, model_config
from vlp_fast.recipes import RECIPES, recipe
from vlp_fast.tasks.pretraining.config import E2EVLPPretrainingConfig, SohoPretrainingConfig

# SOHO, section 4.1; "images a step" are 4,096 pairs of four texts an image.
SOHO = {
    "optim.lr": 1e-4,
    "optim.weight_decay": 1e-2,
    "optim.backbone_optimizer": "sgd",
    "optim.backbone_lr": 1e-2,
    "optim.backbone_weight_decay": 5e-4,
    "optim.schedule": "step",
    "optim.decay_epochs": (25.0, 35.0),
    "optim.freeze_backbone": 10.0,
    "optim.freeze_statistics": False,
    "optim.thaw_scale": 1.0,
    "train.epochs": 40.0,
    "train.precision": "auto",
    "data.shorter": (600,),
    "data.longer": 1000,
    "data.max_text_length": 16,
    "task.mask_rate": 0.15,
    "task.own_texts": 2,
    "task.foreign_texts": 2,
    "task.tagging_steps": 0,
    "task.curriculum": 0.0,
    "model.num_codes": 2048,
    "model.width": 768,
    "model.semantics": "paper",
    "model.pair_sampling": "2+2",
    "model.mlm_on_negatives": False,
    "model.mvm_rate": 1.0,
    "model.momentum": 0.99,
    "steps": None,
}
# E2E-VLP, section 4.2, with DETR's values where the paper is silent.
E2E_VLP = {
    "optim.lr": 1e-4,
    "optim.weight_decay": 1e-4,
    "optim.backbone_optimizer": "adamw",
    "optim.backbone_lr": 1e-5,
    "optim.backbone_weight_decay": 1e-4,
    "optim.clip_norm": 0.1,
    "optim.freeze_backbone": 0.0,
    "train.epochs": 200.0,
    "train.precision": "auto",
    "data.shorter": (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
    "data.shorter_held_out": (800,),
    "data.longer": 1333,
    "data.max_text_length": 40,
    "task.mask_rate": 0.15,
    "task.mismatch_rate": 0.5,
    "task.label_smoothing": 0.0,
    "task.detection": True,
    "task.captioning": True,
    "task.image_only_detection_rate": 0.0,
    "task.class_weight": 1.0,
    "task.bbox_weight": 5.0,
    "task.giou_weight": 2.0,
    "task.attribute_weight": 1.0,
    "task.eos_coef": 0.1,
    "task.curriculum": 0.0,
    "model.width": 256,
    "model.decoder_layers": 6,
    "model.num_queries": 100,
    "model.num_classes": 1600,
    "model.num_attributes": 400,
    "model.backbone.norm": "frozen",
    "steps": None,
}
PAPERS: dict[str, dict[str, Any]] = {
    "soho_r18_3": {**SOHO, "model.backbone.depth": 18, "model.layers": 3},
    "soho_r50_12": {**SOHO, "model.backbone.depth": 50, "model.layers": 12},
    "soho_r101_12": {**SOHO, "model.backbone.depth": 101, "model.layers": 12},
    **{
        f"e2e_vlp_r{depth}_{layers}": {
            **E2E_VLP,
            "model.backbone.depth": depth,
            "model.encoder_layers": layers,
        }
        for depth in (50, 101, 152)
        for layers in (6, 12)
    },
}
IMAGES_A_STEP = {"soho": 4096 // 4, "e2e": 32}

# Downstream, SOHO's sections 4.2.2 to 4.2.4 and E2E-VLP's 5.1: epochs, epochs after which rates are
# divided by ten, samples a step, head, split and tokens.
FINE_TUNING: dict[str, tuple[float, tuple[float, ...], int, str, str, int]] = {
    "vqa_soho": (18.0, (12.0, 16.0), 256, "soho", "train+nominival", 24),
    "nlvr2_soho": (18.0, (12.0, 16.0), 128, "soho", "train", 60),
    "ve_soho": (6.0, (4.0,), 128, "linear", "train", 40),
    "vqa_e2e_vlp": (12.0, (6.0, 9.0), 32, "soho", "train+nominival", 24),
    "nlvr2_e2e_vlp": (12.0, (6.0, 9.0), 32, "soho", "train", 60),
}
FINE_TUNED = [
    (kind, model)
    for kind in FINE_TUNING
    for model in PAPERS
    if model.startswith(kind.partition("_")[2]) and model != "soho_r50_12"
]


def value(run: RunConfig, path: str) -> Any:
    found: Any = asdict(run)
    for name in path.split("."):
        found = found[name]
    return found


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_numbers(name: str) -> None:
    run = recipe(name)
    assert {path: value(run, path) for path in PAPERS[name]} == PAPERS[name]
    images = run.train.batch_size * run.train.shards
    assert images == IMAGES_A_STEP[name[:4].strip("_")]
    assert value(run, "model.backbone.depth") == model_config(name).backbone.depth


@pytest.mark.parametrize(("kind", "model"), FINE_TUNED)
def test_the_papers_fine_tuning(kind: str, model: str) -> None:
    task = kind.partition("_")[0]
    run, base = recipe(f"{task}_{model}"), recipe(model)
    found = (
        run.train.epochs,
        run.optim.decay_epochs,
        run.train.batch_size * run.train.shards,
        value(run, "task.head"),
        run.data.train_split,
        run.data.max_text_length,
    )
    assert found == FINE_TUNING[kind]
    assert run.init == (base.directory,)
    assert run.model == model_config(model)
    assert value(run, "task.codes") is False  # SOHO section 4.2: features in front of the codes
    same = ("lr", "weight_decay", "backbone_optimizer", "backbone_lr", "backbone_weight_decay")
    for name in (*same, "schedule", "clip_norm", "eps"):  # "the same as in the pre-training"
        assert getattr(run.optim, name) == getattr(base.optim, name)
    assert (run.optim.warmup_steps, run.optim.freeze_backbone, run.steps) == (0, 0.0, None)


@pytest.mark.parametrize("model", PAPERS)
def test_the_papers_retrieval(model: str) -> None:
    """SOHO section 4.2.1; E2E-VLP section 5.1 with ERNIE-ViL's margin, scale and negatives."""
    if model == "soho_r50_12":
        assert f"retrieval_{model}" not in RECIPES
        return
    run, base = recipe(f"retrieval_{model}"), recipe(model)
    assert run.init == (base.directory,)
    assert run.model == model_config(model)
    pictures = run.train.batch_size * run.train.shards
    if model.startswith("soho"):
        assert (run.train.batch_size, pictures, run.train.epochs) == (24, 24, 20.0)
        assert (run.optim.lr, run.optim.backbone_lr) == (1e-4, 1e-4)
        assert (run.optim.weight_decay, run.optim.backbone_weight_decay) == (1e-2, 1e-2)
        assert run.optim.backbone_optimizer == "adamw"
        assert (run.optim.decay_epochs, run.optim.decay_factor) == ((3.0, 5.0, 9.0, 13.0), 0.5)
    else:
        assert (pictures, run.train.epochs, run.optim.lr) == (64, 20.0, 5e-5)
        assert (run.optim.backbone_lr, run.optim.decay_epochs) == (1e-5, ())
        assert (value(run, "task.margin"), value(run, "task.scale")) == (0.3, 32.0)
        assert value(run, "task.image_negatives") == value(run, "task.text_negatives") == 10
        assert run.train.batch_size > 10  # or there were fewer foreign pictures in a shard
    assert value(run, "task.codes") is False
    assert run.data.max_text_length == 40
    assert (run.optim.warmup_steps, run.optim.freeze_backbone) == (0, 0.0)


def test_every_recipe_is_there_and_named_after_itself() -> None:
    laptop = {"soho_tiny", "e2e_vlp_tiny", "soho_world", "e2e_vlp_world"}
    assert set(RECIPES) >= set(PAPERS) | laptop
    for name in RECIPES:
        run = recipe(name)
        assert run.name == name
        model = SohoConfig if "soho" in name else E2EVLPConfig
        assert type(run.model) is model
        task = SohoPretrainingConfig if model is SohoConfig else E2EVLPPretrainingConfig
        is_pretraining = name.startswith(("soho", "e2e_vlp"))
        assert (type(run.task) is task) is is_pretraining
        assert run.data.root == ()
        assert run.directory.name == name


@pytest.mark.parametrize("name", [n for n in RECIPES if "tiny" in n or "world" in n])
def test_laptop_runs_fit_a_laptop(name: str) -> None:
    run = recipe(name)
    assert run.steps is not None
    assert run.steps <= (300 if "tiny" in name else 10_000)
    assert run.train.batch_size <= 32
    assert run.train.shards == 1
    assert 0 < run.train.checkpoint_every <= run.steps / 3
    assert value(run, "model.width") <= 128
    tagging = value(run, "task").get("tagging_steps", 0)
    assert tagging < run.steps / 2
    assert run.optim.warmup_steps < run.steps - tagging


def test_the_official_recipe_has_the_published_switches() -> None:
    run = recipe("soho_r18_3_official")
    assert value(run, "model.semantics") == "official"
    assert value(run, "model.pair_sampling") == "bernoulli"
    assert value(run, "model.mlm_on_negatives") is True
    assert value(run, "optim.freeze_backbone") == 0.0


@pytest.mark.parametrize(
    ("name", "near"),
    [("soho_r101", "soho_r101_12"), ("e2e_vlp_r50", "e2e_vlp_r50_"), ("xyz", "vlp-fast recipes")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(InputError, match=near):
        recipe(name)


def test_the_papers_schedules_reach_their_epochs_on_coco() -> None:
    """113,287 images: 110.6 steps an epoch for SOHO, 1.1 M steps in all for nobody but E2E-VLP."""
    for name, steps in (("soho_r101_12", 4425), ("e2e_vlp_r50_6", 708_000)):
        run = recipe(name)
        order = SampleOrder(113_287, run.train.batch_size, seed=0)
        total = run.train.epochs * order.steps_per_epoch / run.train.shards
        assert total == pytest.approx(steps, rel=1e-2)
        assert max(run.optim.decay_epochs) < run.train.epochs


@pytest.mark.parametrize("begins", ["", "def made():\n    "])
def test_a_file_that_ends_the_program_is_one_line(tmp_path: Path, begins: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{begins}raise SystemExit('bye')\n")
    with pytest.raises(InputError, match=r"mine\.py, line \d: SystemExit: bye"):
        recipe(f"{path}:made")
