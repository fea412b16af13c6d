"""The objectives over a small drawn world, with tiny models."""

from pathlib import Path

import pytest

from vlp_fast.data.examples import Example, ImageLoader
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.tokenizer import Tokenizer, train_vocabulary
from vlp_fast.models.config import BackboneConfig, E2EVLPConfig, SohoConfig
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.pretraining.config import E2EVLPPretrainingConfig, SohoPretrainingConfig
from vlp_fast.tasks.pretraining.e2e_vlp import E2EVLPPretraining
from vlp_fast.tasks.pretraining.soho import SohoPretraining
from vlp_fast.tasks.pretraining.texts import Corruption

SEED = 11
MAX_TEXT = 20


@pytest.fixture(scope="session")
def dataset(small_world: Path) -> Dataset:
    return load_dataset(small_world, "train")


@pytest.fixture(scope="session")
def tokenizer(dataset: Dataset) -> Tokenizer:
    return train_vocabulary(dataset.captions(), 400)


@pytest.fixture(scope="session")
def examples(dataset: Dataset) -> list[Example]:
    loader = ImageLoader(dataset=dataset, shorter=None, longer=None, seed=SEED)
    return [loader.load(index, 0) for index in range(24)]


@pytest.fixture(scope="session")
def corruption(tokenizer: Tokenizer) -> Corruption:
    return Corruption(tokenizer=tokenizer, max_length=MAX_TEXT, rate=0.3)


def backbone() -> BackboneConfig:
    return BackboneConfig(
        depth=None, block="basic", blocks=(1, 1), widths=(8, 16), stem="imagenet", norm="batch"
    )


@pytest.fixture(scope="session")
def soho_config(tokenizer: Tokenizer) -> SohoConfig:
    return SohoConfig(
        backbone=backbone(),
        width=32,
        num_heads=4,
        ffn_dim=64,
        layers=2,
        vocab_size=tokenizer.vocab_size,
        max_positions=32,
        num_codes=16,
        dropout=0.0,
        normalize_input=True,
    )


@pytest.fixture
def soho(soho_config: SohoConfig) -> Soho:
    model = soho_config.build()
    assert isinstance(model, Soho)
    return model


@pytest.fixture
def soho_task(dataset: Dataset, corruption: Corruption, soho_config: SohoConfig) -> SohoPretraining:
    model = soho_config.build()
    return SohoPretraining(
        objective=SohoPretrainingConfig(),
        dataset=dataset,
        switches=soho_config,
        corruption=corruption,
        geometry=model.grid_sizes,
        seed=SEED,
    )


@pytest.fixture
def e2e_vlp(dataset: Dataset, tokenizer: Tokenizer) -> E2EVLP:
    model = build_model(
        E2EVLPConfig(
            backbone=backbone(),
            width=32,
            num_heads=2,
            head_dim=16,
            ffn_dim=64,
            encoder_layers=2,
            decoder_layers=2,
            num_queries=10,
            vocab_size=tokenizer.vocab_size,
            max_positions=32,
            num_classes=len(dataset.class_names),
            num_attributes=len(dataset.attribute_names),
            dropout=0.0,
        )
    )
    assert isinstance(model, E2EVLP)
    return model


@pytest.fixture
def e2e_vlp_task(dataset: Dataset, corruption: Corruption, e2e_vlp: E2EVLP) -> E2EVLPPretraining:
    return E2EVLPPretraining(
        objective=E2EVLPPretrainingConfig(),
        dataset=dataset,
        corruption=corruption,
        geometry=e2e_vlp.grid_sizes,
        seed=SEED,
    )
