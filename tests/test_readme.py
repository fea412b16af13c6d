"""README.md and docs/ say what is so: snippets run, tables and names agree with the code."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from all_settings import all_settings, dotted
from pages import PAGES, blocks, execute, run_snippet, section
from scipy.optimize import linear_sum_assignment

from vlp_fast.cli import main
from vlp_fast.models.config import SohoConfig, official
from vlp_fast.recipes import DOWNSTREAM, PRETRAINING, recipe, retrieval

README = PAGES["README.md"]
GAPS, LAYERS, TRAINING = (PAGES[f"{name}.md"] for name in ("paper_gaps", "layers", "training"))
SCREENS = 4
ROWS_OF_A_SCREEN = 50
USES = (
    "Use 1: layers in your own code",
    "Use 2: benchmarks",
    "Use 3: training",
    "Use 4: a trained model",
)


def test_the_two_commands_come_first_then_the_installation_then_the_uses() -> None:
    places = [README.index(words) for words in ("make pretrain", "make test", "pip install -e .")]
    places += [README.index(f"## {use}") for use in USES]
    assert places == sorted(places)
    assert blocks(README, "sh")[0].startswith("make pretrain")
    assert README.index("```sh") < README.index("\n## ")


def test_layers_snippet() -> None:
    torch.manual_seed(0)
    names = run_snippet(section(README, USES[0]))
    features, quantised = names["features"], names["quantised"]
    assert quantised.shape == (1000, 256)
    assert names["indices"].shape == (1000,)
    torch.testing.assert_close(features.grad, 2 * quantised)  # straight through, as it says
    assert not torch.equal(quantised, features)

    padded = names["padded"]
    assert padded.shape == (2, 50, 256)
    assert not padded[1, 30:].any()
    expected = dense_attention(names["attention"], names["tokens"][1, :30])
    torch.testing.assert_close(padded[1, :30], expected, atol=1e-5, rtol=1e-4)

    rows, packed = names["rows"], names["packed"]
    assert packed.shape == (84, 256)
    for start, end in ((0, 55), (55, 84)):
        expected = dense_attention(names["attention"], rows[start:end])
        torch.testing.assert_close(packed[start:end], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(packed, names["again"], atol=1e-5, rtol=1e-4)

    for cost, row, column in zip(names["cost"], names["queries"], names["targets"], strict=True):
        best = cost.numpy()[linear_sum_assignment(cost.numpy())].sum()
        np.testing.assert_allclose(cost[row, column].sum(), best, rtol=1e-6)
        assert len(set(column.tolist())) == 20


def dense_attention(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """Multi-head self-attention of one sequence (L, D) in float64, from the layer's weights."""
    weight, bias = layer.in_proj_weight, layer.in_proj_bias
    query, key, value = (
        rows.unflatten(1, (8, 32))
        for rows in (x.double() @ weight.double().T + bias.double()).chunk(3, dim=1)
    )
    weights = (torch.einsum("ine,jne->nij", query, key) / 32**0.5).softmax(-1)
    mixed = torch.einsum("nij,jne->ine", weights, value).flatten(1)
    out: torch.Tensor = mixed @ layer.out_proj.weight.double().T + layer.out_proj.bias.double()
    return out.float()


def test_attention_maps_snippet() -> None:
    torch.manual_seed(0)
    names = run_snippet(LAYERS, "import torch\n\nimport vlp_fast\nfrom vlp_fast.ops.packing")
    layer, rows, weights = names["layer"], names["rows"], names["weights"]
    assert weights.shape == (2, 4, 5, 5)
    values = layer.project(rows)[:, 2].unflatten(0, (2, 5))
    mixed = torch.einsum("snij,sjne->sine", weights, values).flatten(2).flatten(0, 1)
    torch.testing.assert_close(layer.out_proj(mixed), names["out"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("implementation", "mask_dtype"), [("sdpa", torch.bool), ("eager", torch.float32)]
)
def test_transformers_attention_snippet(implementation: str, mask_dtype: torch.dtype) -> None:
    """The encoder with its attention swapped and the stock one: the same rows and gradients."""
    torch.manual_seed(0)
    names = run_snippet(LAYERS, "import torch\nfrom torch import")
    swapped, config = names["model"], names["config"]
    stock = type(swapped)(config)
    if implementation != "sdpa":  # the default, which the CNN cannot be told
        for model in (swapped, stock):
            model.set_attn_implementation(implementation)
    for layer, theirs in zip(swapped.encoder.layers, stock.encoder.layers, strict=True):
        layer.self_attn = names["PackedSelfAttention"](
            theirs.self_attn, config.encoder_attention_heads
        )
    stock.load_state_dict(swapped.state_dict(), strict=False)
    masks = [watch_mask(model.encoder.layers[0].self_attn) for model in (swapped, stock)]
    results = [encoder_step(model.eval(), config.d_model) for model in (swapped, stock)]
    assert masks == [[mask_dtype], [mask_dtype]]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def watch_mask(attention: torch.nn.Module) -> list[torch.dtype]:
    """Dtypes of the masks that a layer will be given."""
    seen: list[torch.dtype] = []

    def look(_: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        seen.append(options["attention_mask"].dtype)

    attention.register_forward_pre_hook(look, with_kwargs=True)
    return seen


def encoder_step(model: Any, width: int) -> list[torch.Tensor]:
    """Rows that are no padding, and the gradients of the input and of a layer."""
    generator = torch.Generator().manual_seed(1)
    x, positions = torch.randn(2, 2, 9, width, generator=generator)
    is_cell = torch.arange(9) < torch.tensor([[9], [4]])
    x.requires_grad_()
    out = model.encoder(
        inputs_embeds=x, attention_mask=is_cell, spatial_position_embeddings=positions
    )
    rows = out.last_hidden_state[is_cell]
    layer = model.encoder.layers[0].mlp.parameters()
    return [rows.detach(), *torch.autograd.grad(rows.square().sum() / 100, [x, *layer])]


@pytest.mark.parametrize("auxiliary_loss", [True, False])
def test_transformers_snippet(auxiliary_loss: bool) -> None:
    """Two steps of the swapped model and of the stock one: the same losses and gradients."""
    torch.manual_seed(0)
    names = run_snippet(LAYERS, "from transformers import")
    swapped = names["model"]
    swapped.config.auxiliary_loss = names["config"].auxiliary_loss = auxiliary_loss
    with torch.no_grad():  # a fresh decoder begins with norms of zeros, which magnify rounding
        for weight in swapped.parameters():
            weight += 0.05 * torch.randn_like(weight)
    stock = type(swapped)(names["config"])
    stock.load_state_dict(swapped.state_dict())
    assert swapped.loss_function is names["set_loss"]
    assert stock.loss_function is not names["set_loss"]
    found, expected = two_steps(swapped), two_steps(stock)
    assert set(expected[0]) | {"class_error"} == set(found[0])
    assert ("loss_giou_0" in expected[0]) is auxiliary_loss
    for step, other in zip(found, expected, strict=True):
        for name, value in other.items():
            scale = max(1.0, value.detach().abs().max().item())
            torch.testing.assert_close(
                step[name], value, rtol=0, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_vector_quantize_snippet() -> None:
    """The swapped layer and the stock one, one step from one seed: equal outputs and gradients."""
    torch.manual_seed(0)
    names = run_snippet(LAYERS, "import vlp_fast  # was: from vector_quantize_pytorch")
    snippets = blocks(LAYERS, "python")
    (swapped,) = [snippet for snippet in snippets if snippet.startswith("import vlp_fast  #")]
    stock: dict[str, Any] = {}
    swapped = swapped.replace("vlp_fast", "vector_quantize_pytorch")
    torch.manual_seed(0)
    execute(swapped, stock)
    assert type(stock["quantizer"]) is not type(names["quantizer"])
    for name in ("quantised", "indices", "commitment_loss"):
        torch.testing.assert_close(names[name], stock[name])
    torch.testing.assert_close(names["latents"].grad, stock["latents"].grad)


def test_accelerate_snippet(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_snippet(LAYERS, "import transformers\n")
    assert names["swapped"][""].startswith("loss_function: SoftmaxLoss, DETR's")
    assert "(model)  YolosForObjectDetection  loss_function: SoftmaxLoss" in capsys.readouterr().out
    assert not names["report"] and "_loss_function" not in vars(names["model"])


def two_steps(model: Any) -> list[dict[str, torch.Tensor]]:
    """The total, the losses and all gradients of two optimiser steps as DETR takes them."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    counts, found = (4, 0, 25), []
    for _ in range(2):
        labels = [
            {"class_labels": torch.randint(7, (n,)), "boxes": 0.2 + 0.4 * torch.rand(n, 4)}
            for n in counts
        ]
        out = model(torch.randn(len(counts), 3, 64, 48), labels=labels)
        optimizer.zero_grad()
        out.loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        assert len(gradients) > 50
        found.append({"loss": out.loss.detach(), **out.loss_dict, **gradients})
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    return found


def test_benchmark_snippet(capsys: pytest.CaptureFixture[str]) -> None:
    results = run_snippet(PAGES["benchmarks.md"])["results"]
    names = [result.provider for result in results if result.provider != "vlp_fast reference"]
    assert names == ["vlp_fast", "cdist"]  # and the definition, where another backend runs
    assert results[0].error == 0
    printed = capsys.readouterr().out
    for name in ("vlp_fast", "cdist"):
        assert re.search(rf"^{name}: \d+\.\d\d ms$", printed, re.M)


def test_training_snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_snippet(section(README, USES[2]))
    folder = names["folder"]
    assert folder == Path("runs/few-steps")
    lines = (folder / "metrics.jsonl").read_text()
    assert [int(step) for step in re.findall(r'"step": (\d+), "kind": "train"', lines)] == [2, 4, 6]
    assert '"kind": "held_out"' in lines
    assert '"tagging"' in lines.splitlines()[0]
    assert '"mvm"' in lines.splitlines()[1]
    written = {path.name for path in folder.iterdir()}
    assert written == {"run.json", "vocab.txt", "metrics.jsonl", "checkpoint-00000006"}
    for name in (*re.findall(r"`(\w+\.safetensors|state\.json)`", TRAINING),):
        assert (folder / "checkpoint-00000006" / name).is_file()


def test_predicting_snippet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands in front of it, then the snippet: what it says is so."""
    monkeypatch.chdir(tmp_path)
    commands = blocks(section(README, USES[3]), "sh")[0].splitlines()
    for command in commands[:2]:
        assert main(command.partition("#")[0].split()[1:]) == 0
    (scene, *_) = json.loads(Path("runs/few-drawings/world.json").read_text())["scenes"]
    capsys.readouterr()
    names = run_snippet(section(README, USES[3]))
    caption = capsys.readouterr().out.splitlines()[0]
    kinds = {thing["kind"] for thing in scene["objects"]}
    assert set(names["objects"].labels) == kinds
    assert any(word in caption for word in (*kinds, "one", "two", "three"))


def test_the_table_of_recipes_is_what_the_recipes_are() -> None:
    rows = re.findall(r"^\| `\w+` \| .*(?:steps|epochs) \| .*$", TRAINING, re.M)
    assert rows == [recipe_row(name) for name in PRETRAINING]


def test_the_table_of_retrieval_recipes_is_what_the_recipes_are() -> None:
    rows = re.findall(r"^\| `(\w+)_\*` (\|.*\d \|)$", PAGES["retrieval.md"], re.M)
    full = {n: r() for n, r in retrieval.RECIPES.items() if not n.endswith(("tiny", "world"))}
    for name, run in full.items():
        (row,) = (row for start, row in rows if name.startswith(f"{start}_"))
        epochs = ", ".join(f"{epoch:g}" for epoch in run.optim.decay_epochs)
        decay = f", times {run.optim.decay_factor:g} after epochs {epochs}" if epochs else ""
        assert row == (
            f"| {run.train.batch_size * run.train.shards} | {run.train.epochs:g} epochs "
            f"| {run.optim.lr:g}{decay} | {run.data.max_text_length} |"
        )
    assert all(any(name.startswith(f"{start}_") for name in full) for start, _ in rows)


def test_the_table_of_downstream_recipes_is_what_the_recipes_are() -> None:
    rows = re.findall(r"^\| `(\w+)_\*` (\|.*\d \|)$", PAGES["downstream.md"], re.M)
    classified = {n: r for n, r in DOWNSTREAM.items() if n not in retrieval.RECIPES}
    full = {n: r() for n, r in classified.items() if not n.endswith(("tiny", "world"))}
    for name, run in full.items():
        (row,) = (row for start, row in rows if name.startswith(f"{start}_"))
        decay = ", ".join(f"{epoch:g}" for epoch in run.optim.decay_epochs)
        samples = run.train.batch_size * run.train.shards
        splits = f"{run.data.train_split} | {run.data.held_out_split}"
        assert row == (
            f"| {splits} | {samples} | {run.train.epochs:g} epochs | {decay} "
            f"| {run.data.max_text_length} |"
        )
    assert all(any(name.startswith(f"{start}_") for name in full) for start, _ in rows)


def recipe_row(name: str) -> str:
    """The row of the table that a recipe's configuration asks for."""
    run = recipe(name)
    length = f"{run.steps} steps" if run.steps else f"{run.train.epochs:g} epochs"
    images = run.train.batch_size * run.train.shards
    shorter = run.data.shorter or ()
    sides = "-".join(str(side) for side in dict.fromkeys((*shorter[:1], *shorter[-1:])))
    size = f"{sides} / {run.data.longer}" if shorter else "as stored"
    cnn = f"{run.optim.backbone_optimizer} {run.optim.backbone_lr:g}"
    return f"| `{name}` | {length} | {images} | {cnn} | AdamW {run.optim.lr:g} | {size} |"


def test_the_readme_fits_on_four_screens() -> None:
    assert len(README.splitlines()) <= SCREENS * ROWS_OF_A_SCREEN


@pytest.mark.parametrize("page", PAGES)
def test_fields_exist(page: str) -> None:
    pattern = r"`((?:model|data|optim|train|task)\.(?!safetensors)[a-z_.]+)`"
    named = set(re.findall(pattern, PAGES[page]))
    assert named <= all_settings(), f"no such field: {sorted(named - all_settings())}"
    assert page != "paper_gaps.md" or len(named) > 30


def test_the_table_of_switches_is_what_the_presets_are() -> None:
    rows = re.findall(r"^\| .+ \| `model\.([a-z_.]+)` \| `(.+)` \| `(.+)` \|$", GAPS, re.M)
    table = {name: (paper, code) for name, paper, code in rows}
    paper, code = SohoConfig(), official(SohoConfig())
    assert table == {name: (repr(at(paper, name)), repr(at(code, name))) for name in table}
    differing = {name for name in dotted(paper) if at(paper, name) != at(code, name)}
    assert differing - {"backbone"} <= set(table)


def at(config: Any, name: str) -> Any:
    """The value behind a dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config
