"""Drawings with their truth, and models that know them."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import vlp_fast
from vlp_fast.data.config import DataConfig
from vlp_fast.data.tokenizer import train_vocabulary
from vlp_fast.engine.precision import Precision
from vlp_fast.inference.description import Description
from vlp_fast.inference.predictor import Predictor
from vlp_fast.inference.trained import Trained
from vlp_fast.models.config import SohoConfig
from vlp_fast.recipes import recipe
from vlp_fast.tasks.downstream.classifiers import build_classifier
from vlp_fast.tasks.downstream.config import SampleTaskConfig

SENTENCES = ["how many red circles are there ?", "both images show a blue square . is it true ?"]


@dataclass(frozen=True)
class Drawn:
    """Drawings, and the colour and kind of each thing in each."""

    paths: list[Path]
    things: list[list[tuple[str, str]]]


@pytest.fixture(scope="session")
def drawn(small_drawings: Path) -> Drawn:
    root = small_drawings
    scenes = json.loads((root / "world.json").read_text())["scenes"]
    return Drawn(
        paths=[root / "images" / f"{scene['image_id']:012d}.png" for scene in scenes],
        things=[sorted((o["colour"], o["kind"]) for o in scene["objects"]) for scene in scenes],
    )


@pytest.fixture(scope="session")
def e2e_vlp() -> Predictor:
    return vlp_fast.load("e2e_vlp_small_world", device="cpu")


@pytest.fixture(scope="session")
def soho() -> Predictor:
    return vlp_fast.load("soho_small_world", device="cpu")


def untrained(task: SampleTaskConfig, answers: tuple[str, ...] = ()) -> Predictor:
    """A SOHO of random weights with the head of a task."""
    torch.manual_seed(3)
    tokenizer = train_vocabulary(SENTENCES, 100)
    base = recipe("soho_tiny").model
    assert isinstance(base, SohoConfig)
    config = replace(base, vocab_size=tokenizer.vocab_size)
    classes = len(task.classes(answers))
    data = DataConfig(shorter_held_out=(48,), longer=96, max_text_length=16)
    about = Description(
        recipe="by hand", step=7, model=config, task=task, data=data, answers=answers
    )
    head = build_classifier(task.head, config.width, classes, pictures=task.pictures)
    return Predictor(
        Trained(
            about=about,
            model=config.build().eval(),
            classifier=head.eval(),
            tokenizer=tokenizer,
            runtime=Precision(device=torch.device("cpu"), dtype=torch.float32),
        )
    )
