"""Our own weights: a run goes on as the beginning of another, whose task and classes are others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_e2e_vlp import TINY as E2E
from tiny_soho import PAPER
from torch import nn

from vlp_fast.engine.checkpoint import save_checkpoint
from vlp_fast.engine.snapshot import HostMemory
from vlp_fast.errors import InputError
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.weights.load import load_weights

CLASSES = tuple(f"class {number}" for number in range(7))
ATTRIBUTES = tuple(f"attribute {number}" for number in range(4))
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(18)))


class Learner(nn.Module):
    """As a run keeps it: the model, and the heads of its task."""

    def __init__(self, model: VisionLanguageModel) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.Linear(2, 2)


def run(folder: Path, *steps: int) -> dict[int, VisionLanguageModel]:
    """A run folder; the models of its checkpoints."""
    models = {}
    for step in steps:
        models[step] = E2E.build()
        extra = {"scaler": {}, "classes": CLASSES, "attributes": ATTRIBUTES}
        save_checkpoint(folder, step, HostMemory().take(Learner(models[step]), [], extra), keep=9)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    config = {"num_heads": E2E.num_heads, "norm_first": False, "activation": "relu"}
    (folder / "run.json").write_text(json.dumps({"config": {"model": config}}))
    return models


def assert_same(model: VisionLanguageModel, other: VisionLanguageModel, but: str = " ") -> None:
    theirs = other.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, theirs[name]) is not name.startswith(but), name


def test_the_newest_checkpoint_of_a_run(tmp_path: Path) -> None:
    models = run(tmp_path, 3, 12)
    model = E2E.build()
    loaded = load_weights(model, tmp_path, vocabulary=WORDS, classes=CLASSES, attributes=ATTRIBUTES)
    assert_same(model, models[12])
    assert loaded.new == () and loaded.notes == ()
    assert loaded.left == ("heads.bias", "heads.weight")
    assert loaded.path == tmp_path / "checkpoint-00000012" / "model.safetensors"
    load_weights(model, tmp_path / "checkpoint-00000003", vocabulary=WORDS)
    assert_same(model, models[3])


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    models = run(tmp_path, 3, 12)
    newest = tmp_path / "checkpoint-00000012" / "model.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    model = E2E.build()
    load_weights(model, tmp_path)
    assert_same(model, models[3])


def test_another_vocabulary_than_the_run_s(tmp_path: Path) -> None:
    run(tmp_path, 3)
    with pytest.raises(InputError, match="token 22 is 'w17' there and 'w18' here"):
        load_weights(E2E.build(), tmp_path, vocabulary=(*WORDS[:-1], "w18"))


@pytest.mark.parametrize("classes", [CLASSES[::-1], ("class 5", "class 2")])
def test_rows_of_a_head_go_by_their_names(tmp_path: Path, classes: tuple[str, ...]) -> None:
    """As many classes in another order, and some of them: as COCO's among Visual Genome's."""
    there = run(tmp_path, 3)[3].class_head
    model = replace(E2E, num_classes=len(classes)).build()
    loaded = load_weights(model, tmp_path, classes=classes, attributes=ATTRIBUTES)
    assert loaded.new == ()
    for row, name in enumerate(classes):
        assert torch.equal(model.class_head.weight[row], there.weight[CLASSES.index(name)])
        assert torch.equal(model.class_head.bias[row], there.bias[CLASSES.index(name)])
    assert torch.equal(model.class_head.weight[-1], there.weight[-1])  # no object


def test_a_head_that_is_not_as_long_as_its_names_is_new(tmp_path: Path) -> None:
    run(tmp_path, 3)
    path = tmp_path / "checkpoint-00000003" / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"classes": [*CLASSES, "one too many"]}))
    loaded = load_weights(E2E.build(), tmp_path, classes=CLASSES[::-1], attributes=ATTRIBUTES)
    assert loaded.new == ("class_head.weight", "class_head.bias")


@pytest.mark.parametrize("classes", [("class 1", "dog"), ("cat", "dog"), ()])
def test_heads_of_other_classes_are_new(tmp_path: Path, classes: tuple[str, ...]) -> None:
    models = run(tmp_path, 3)
    model = replace(E2E, num_classes=len(classes) or 1).build()
    before = model.class_head.weight.clone()
    loaded = load_weights(model, tmp_path, classes=classes, attributes=ATTRIBUTES)
    assert torch.equal(model.class_head.weight, before)
    assert torch.equal(model.attribute_head.weight, models[3].attribute_head.weight)
    assert loaded.new == ("class_head.weight", "class_head.bias")
    assert "class_head (the classes are others)" in str(loaded)


def test_settings_that_shapes_do_not_show(tmp_path: Path) -> None:
    run(tmp_path, 3)
    with pytest.raises(InputError, match="is of num_heads 3, this model is of 4"):
        load_weights(replace(E2E, num_heads=4, head_dim=3).build(), tmp_path)
    with pytest.raises(InputError, match="is of activation relu, this model is of gelu"):
        load_weights(replace(E2E, activation="gelu").build(), tmp_path)


@pytest.mark.parametrize(("there", "option"), [(True, "norm-first"), (False, "no-norm-first")])
def test_the_option_that_is_named_is_one(tmp_path: Path, there: bool, option: str) -> None:
    save_file(E2E.build().state_dict(), tmp_path / "w.safetensors", {"settings": settings(there)})
    model = replace(E2E, norm_first=not there).build()
    with pytest.raises(InputError, match=f"give --model.{option}$"):
        load_weights(model, tmp_path / "w.safetensors", option="--init")


def settings(norm_first: bool) -> str:
    return json.dumps({"norm_first": norm_first})


def exported(folder: Path, **config: object) -> VisionLanguageModel:
    """A folder that `vlp-fast export` writes, as far as it matters to its weights."""
    model = E2E.build()
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    save_file(state | {"heads.bias": torch.ones(2)}, folder / "model.safetensors")
    known = {"model": {"num_heads": E2E.num_heads, "norm_first": False, "activation": "relu"}}
    about = {"config": known, "classes": CLASSES, "attributes": ATTRIBUTES, **config}
    (folder / "config.json").write_text(json.dumps(about))
    return model


@pytest.mark.parametrize("classes", [CLASSES[::-1], ("class 5", "class 2")])
def test_an_exported_folder_names_its_rows(tmp_path: Path, classes: tuple[str, ...]) -> None:
    there = exported(tmp_path).class_head
    model = replace(E2E, num_classes=len(classes)).build()
    loaded = load_weights(model, tmp_path, classes=classes, attributes=ATTRIBUTES)
    assert loaded.new == () and loaded.left == ("heads.bias",)
    rows = [*(CLASSES.index(name) for name in classes), len(CLASSES)]
    assert torch.equal(model.class_head.weight, there.weight[rows])


def test_an_exported_model_goes_into_a_task_without_classes(tmp_path: Path) -> None:
    exported(tmp_path)
    model = replace(E2E, num_classes=1, num_attributes=1).build()
    loaded = load_weights(model, tmp_path, classes=(), attributes=())
    assert {name.split(".")[0] for name in loaded.new} == {"class_head", "attribute_head"}


def test_settings_of_an_exported_folder_are_compared(tmp_path: Path) -> None:
    exported(tmp_path)
    with pytest.raises(InputError, match="is of num_heads 3, this model is of 4"):
        load_weights(replace(E2E, num_heads=4, head_dim=3).build(), tmp_path)
    with pytest.raises(InputError, match="is of norm_first False, this model is of True"):
        load_weights(replace(E2E, norm_first=True).build(), tmp_path)


@pytest.mark.parametrize("config", [{"config": [1], "classes": 3, "attributes": {"a": 1}}, {}])
def test_a_config_of_others_is_no_description(tmp_path: Path, config: dict[str, object]) -> None:
    """One of Hugging Face's beside our weights, for example."""
    source = exported(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = E2E.build()
    load_weights(model, tmp_path, classes=CLASSES, attributes=ATTRIBUTES)
    assert_same(model, source)


@pytest.mark.parametrize(("config", "other"), [(PAPER, E2E), (E2E, PAPER)])
def test_a_model_and_the_other_system(tmp_path: Path, config: object, other: object) -> None:
    source, model = config.build(), config.build()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    loaded = load_weights(model, tmp_path / "w.safetensors")
    assert_same(model, source)
    assert loaded.left == loaded.new == ()
    with pytest.raises(InputError, match="is our own, which has nothing for "):
        load_weights(other.build(), tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "config",
    [
        replace(PAPER, num_codes=25),
        replace(PAPER, ffn_dim=65),
        replace(PAPER, mvm_head="cosine", conv_bn=True),
    ],
)
def test_another_size_is_refused(tmp_path: Path, config: object) -> None:
    torch.save(PAPER.build().state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"is our own of another size: .*\) there, .* here$"):
        load_weights(config.build(), tmp_path / "w.pth")


@pytest.mark.parametrize("revival", [None, 0.1])
@pytest.mark.parametrize("rule", ["eq4", "sum_count_laplace"])
def test_a_dictionary_of_other_switches(tmp_path: Path, revival: float, rule: str) -> None:
    """As its own loading: counters and averages that a switch adds are no other model."""
    source = replace(PAPER, ema_rule="sum_count_laplace").build()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    model = replace(PAPER, revival=revival, ema_rule=rule).build()
    load_weights(model, tmp_path / "w.pth")
    assert torch.equal(model.dictionary.embed, source.dictionary.embed)


def test_the_random_codes_do_not_come_back(tmp_path: Path) -> None:
    """Codes that start from data have started where they are loaded."""
    source = replace(PAPER, codebook_init="data").build()
    source.dictionary.embed.fill_(0.5)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    model = replace(PAPER, codebook_init="data").build()
    load_weights(model, tmp_path / "w.pth")
    assert (model.dictionary.embed == 0.5).all()


@pytest.mark.parametrize("written", ["[]", '{"config": 3}', '{"config": {"model": [1]}}'])
def test_settings_that_are_none_are_not_compared(tmp_path: Path, written: str) -> None:
    models = run(tmp_path, 3)
    (tmp_path / "run.json").write_text(written)
    model = E2E.build()
    load_weights(model, tmp_path)
    assert_same(model, models[3])


def test_a_header_of_nonsense_is_one_line(tmp_path: Path) -> None:
    save_file(E2E.build().state_dict(), tmp_path / "w.safetensors", {"settings": "{"})
    with pytest.raises(InputError, match="its header has unreadable settings"):
        load_weights(E2E.build(), tmp_path / "w.safetensors")
