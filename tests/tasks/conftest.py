"""Tasks over a small drawn world, with tiny models."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_tasks import MODELS, TASKS, Build

from vlp_fast.data.config import DataConfig
from vlp_fast.data.examples import Example, ImageLoader
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.tokenizer import Tokenizer, train_vocabulary
from vlp_fast.models.config import BackboneConfig, E2EVLPConfig, ModelConfig, SohoConfig
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.config import RunLength, TaskSetup
from vlp_fast.tasks.pretraining.config import E2EVLPPretrainingConfig, SohoPretrainingConfig
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.pretraining.soho import SohoPretraining
from vlp_fast.tasks.pretraining.texts import Corruption

SEED = 11
MAX_TEXT = 20
WORDS = 400
RATE = 0.3


@pytest.fixture(scope="session")
def dataset(small_world: Path) -> Dataset:
    return load_dataset(small_world, "train")


@pytest.fixture(scope="session")
def tokenizer(dataset: Dataset) -> Tokenizer:
    return train_vocabulary(dataset.captions(), WORDS)


@pytest.fixture(scope="session")
def examples(dataset: Dataset) -> list[Example]:
    loader = ImageLoader(dataset=dataset, shorter=None, longer=None, seed=SEED)
    return [loader.load(index, 0) for index in range(24)]


@pytest.fixture(scope="session")
def corruption(tokenizer: Tokenizer) -> Corruption:
    return Corruption(tokenizer=tokenizer, max_length=MAX_TEXT, rate=RATE)


@pytest.fixture(scope="session")
def setup(small_world: Path) -> Callable[[ModelConfig], TaskSetup]:
    """setup(model) is what a task of that model is built from."""

    def of(model: ModelConfig) -> TaskSetup:
        data = DataConfig(
            root=small_world,
            shorter=None,
            shorter_held_out=None,
            longer=None,
            max_text_length=MAX_TEXT,
            vocabulary_size=WORDS,
        )
        length = RunLength(steps=100, epochs=1.0, batch_size=6, shards=1)
        return TaskSetup(data=data, model=model, length=length, seed=SEED, held_out_images=3)

    return of


def backbone() -> BackboneConfig:
    return BackboneConfig(
        depth=None, block="basic", blocks=(1, 1), widths=(8, 16), stem="imagenet", norm="batch"
    )


@pytest.fixture(scope="session")
def soho_config() -> SohoConfig:
    return SohoConfig(
        backbone=backbone(),
        width=32,
        num_heads=4,
        ffn_dim=64,
        layers=2,
        max_positions=32,
        num_codes=16,
        dropout=0.0,
        normalize_input=True,
    )


@pytest.fixture
def soho_task(
    soho_config: SohoConfig, setup: Callable[[ModelConfig], TaskSetup]
) -> SohoPretraining:
    task = SohoPretrainingConfig(mask_rate=RATE).build(setup(soho_config))
    assert isinstance(task, SohoPretraining)
    return task


@pytest.fixture
def soho(soho_task: SohoPretraining) -> Soho:
    return soho_task.model


@pytest.fixture
def e2e_vlp_task(setup: Callable[[ModelConfig], TaskSetup]) -> E2EVLPPretraining:
    model = E2EVLPConfig(
        backbone=backbone(),
        width=32,
        num_heads=2,
        head_dim=16,
        ffn_dim=64,
        encoder_layers=2,
        decoder_layers=2,
        num_queries=10,
        max_positions=32,
        dropout=0.0,
    )
    task = E2EVLPPretrainingConfig(mask_rate=RATE).build(setup(model))
    assert isinstance(task, E2EVLPPretraining)
    return task


@pytest.fixture
def e2e_vlp(e2e_vlp_task: E2EVLPPretraining) -> E2EVLP:
    return e2e_vlp_task.model


@pytest.fixture(scope="session")
def build(small_world: Path, setup: Callable[[ModelConfig], TaskSetup]) -> Build:
    """build(task, model, **settings) is a task in eval mode."""

    def built(task: str, model: str = "soho", root: Path | None = None, **settings: Any) -> Any:
        root = root or (small_world / "nlvr2" if task == "nlvr2" else small_world)
        base = setup(MODELS[model])
        data = replace(base.data, root=root, held_out_split="val", max_text_length=40)
        made = replace(TASKS[task], **settings).build(replace(base, data=data, held_out_images=20))
        made.learner.eval()
        return made

    return built
