"""SOHO's batch and joint loss: 2 + 2 texts, foreign pairs masked alike but without loss."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from first_records import FirstRecords
from rebuilt import with_settings, with_setup
from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.data.records import Dataset
from vlp_fast.models.model import Seen
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.pretraining.soho import SohoInputs, SohoPretraining

Texts = list[list[int]]


def split(inputs: SohoInputs) -> Texts:
    """The corrupted ids of each sequence."""
    return [list(part) for part in inputs.text_ids.split(list(inputs.packing.text_lengths))]


def restored(inputs: SohoInputs) -> Texts:
    """The texts with every target put back at the packed row that it claims to be from."""
    rows = torch.full((inputs.packing.num_rows,), -1)
    rows[inputs.packing.text_rows] = inputs.text_ids
    rows[inputs.masked_rows] = inputs.masked_targets
    parts = rows[inputs.packing.text_rows].split(list(inputs.packing.text_lengths))
    return [part.tolist() for part in parts]


def own_texts(task: SohoPretraining, example: Example) -> Texts:
    return [task.corruption.ids(caption) for caption in example.captions]


def batch(
    task: SohoPretraining, examples: list[Example], epoch: int = 0, step: int = 0
) -> SohoInputs:
    return task.collate(examples, BatchKey(task.train, epoch, step))


def official(task: SohoPretraining) -> SohoPretraining:
    switches = replace(task.switches, pair_sampling="bernoulli", mlm_on_negatives=True)
    return with_setup(task, model=switches)


def test_two_own_and_two_foreign_texts_an_image(
    soho_task: SohoPretraining, examples: list[Example]
) -> None:
    inputs = batch(soho_task, examples)
    assert inputs.is_matched.tolist() == [1, 1, 0, 0] * len(examples)
    assert inputs.packing.image_of == tuple(i for i in range(len(examples)) for _ in range(4))
    texts = restored(inputs)
    for i, example in enumerate(examples):
        first, second = texts[4 * i : 4 * i + 2]
        own = own_texts(soho_task, example)
        assert first in own
        assert second in own
        assert example.captions.count(example.captions[0]) > 1 or first != second


def test_masked_rows_are_those_of_matching_texts_and_decode_back(
    soho_task: SohoPretraining, examples: list[Example]
) -> None:
    inputs = batch(soho_task, examples, 3)
    sequences = inputs.packing.sequence_of[inputs.masked_rows]
    assert set(sequences.tolist()) == {s for s in range(4 * len(examples)) if s % 4 < 2}
    is_text = torch.isin(inputs.masked_rows, inputs.packing.text_rows)
    assert is_text.all()
    tokenizer = soho_task.corruption.tokenizer
    shown = torch.full((inputs.packing.num_rows,), -1)
    shown[inputs.packing.text_rows] = inputs.text_ids
    share = (shown[inputs.masked_rows] == tokenizer.mask_id).float().mean()
    assert 0.65 < share < 0.95
    foreign = [text for s, text in enumerate(split(inputs)) if s % 4 >= 2]
    assert sum(tokenizer.mask_id in text for text in foreign) > len(foreign) // 2


def test_code_rows_are_the_cells_of_matching_sequences(
    soho_task: SohoPretraining, examples: list[Example]
) -> None:
    inputs = batch(soho_task, examples[:5])
    packing, grid = inputs.packing, inputs.grid
    expected = [
        (row, cell)
        for row, cell in zip(packing.grid_rows.tolist(), packing.grid_cells.tolist(), strict=True)
        if packing.sequence_of[row] % 4 < 2
    ]
    got = list(zip(inputs.code_rows.tolist(), inputs.code_cells.tolist(), strict=True))
    assert got == expected
    assert len(got) == 2 * grid.num_cells
    images = [packing.image_of[int(packing.sequence_of[row])] for row, _ in got]
    assert grid.image_of[inputs.code_cells].tolist() == images


def test_the_official_coin_is_fair_and_independent(
    soho_task: SohoPretraining, examples: list[Example]
) -> None:
    task = official(soho_task)
    batches = [batch(task, examples, epoch) for epoch in range(12)]
    coins = torch.cat([b.is_matched for b in batches]).view(-1, 4)
    assert coins.float().mean() == pytest.approx(0.5, abs=0.045)
    assert coins.float().mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.1)
    shares = Counter(coins.sum(1).tolist())
    expected = {n: w / 16 for n, w in enumerate((1, 4, 6, 4, 1))}
    for number, share in expected.items():
        assert shares[number] / len(coins) == pytest.approx(share, abs=0.09)
    first = batches[0]
    for s, (text, coin) in enumerate(zip(restored(first), first.is_matched.tolist(), strict=True)):
        assert (text in own_texts(task, examples[s // 4])) == bool(coin)


def test_the_official_switch_gives_foreign_pairs_their_losses(
    soho_task: SohoPretraining, examples: list[Example]
) -> None:
    inputs = batch(official(soho_task), examples)
    sequences = set(inputs.packing.sequence_of[inputs.masked_rows].tolist())
    assert sequences == set(range(4 * len(examples)))
    assert len(inputs.code_rows) == 4 * inputs.grid.num_cells


def test_foreign_texts_are_false_and_from_the_pool(
    soho_task: SohoPretraining, examples: list[Example], dataset: Dataset
) -> None:
    task = with_setup(soho_task, model=replace(soho_task.switches, mlm_on_negatives=True))
    task.curriculum = FirstRecords()
    inputs = batch(task, examples, step=7)
    in_pool = [task.corruption.ids(c) for r in dataset.records[:7] for c in r.captions]
    foreign = [text for s, text in enumerate(restored(inputs)) if s % 4 >= 2]
    assert all(text in in_pool for text in foreign)
    assert dataset.describes is not None


def test_held_out_pairs_take_any_held_out_text(soho_task: SohoPretraining) -> None:
    """And not only those of the pictures that a curriculum would begin with."""
    task = with_settings(soho_task, mask_rate=1e-9)  # one word of each text is masked
    task.curriculum = FirstRecords()
    shown = [task.held_out_examples.load(index, 0) for index in range(3)]
    batches = [task.collate(shown, BatchKey(task.held_out, epoch, None)) for epoch in range(8)]
    told = [ids for example in shown for ids in own_texts(task, example)]
    found = set()
    for text in (text for inputs in batches for text in restored(inputs)[2::4]):
        near = [i for i, ids in enumerate(told) if len(ids) == len(text) and off(ids, text) <= 1]
        assert near
        found.update(near)
    assert len(found) > len(shown[0].captions)


def off(ids: list[int], text: list[int]) -> int:
    return sum(a != b for a, b in zip(ids, text, strict=True))


def test_collate_is_a_function_of_seed_epoch_and_index(
    soho_task: SohoPretraining, examples: list[Example]
) -> None:
    def of(task: SohoPretraining, shown: list[Example], epoch: int, place: int) -> Any:
        inputs = batch(task, shown, epoch)
        noise = inputs.noise[inputs.grid.image_of == place]
        return split(inputs)[4 * place : 4 * place + 4], noise.tolist()

    alone = of(soho_task, [examples[5]], 2, 0)
    assert of(soho_task, examples[:8], 2, 5) == alone
    assert of(soho_task, [examples[9], examples[5], examples[0]], 2, 1) == alone
    assert of(soho_task, [examples[5]], 3, 0) != alone
    assert of(with_setup(soho_task, seed=soho_task.setup.seed + 1), [examples[5]], 2, 0) != alone
    assert of(soho_task, [replace(examples[5], index=6)], 2, 0) != alone


@pytest.fixture
def step(
    soho: Soho, soho_task: SohoPretraining, examples: list[Example], monkeypatch: Any
) -> dict[str, Any]:
    """One forward pass, with what `hide` and `read` received and returned."""
    seen: dict[str, Any] = {"inputs": batch(soho_task, examples[:6]), "calls": 0}
    hide, read = soho.hide, soho.read

    def spy_on_hide(tokens: Seen, masked: Tensor) -> Seen:
        seen.update(tokens=tokens, masked=masked, shown=hide(tokens, masked))
        return seen["shown"]  # type: ignore[no-any-return]

    def spy_on_read(ids: Tensor, shown: Seen, grid: Any, packing: Any) -> Tensor:
        assert shown is seen["shown"]
        hidden = read(ids, shown, grid, packing)
        hidden.retain_grad()
        seen.update(hidden=hidden, calls=seen["calls"] + 1)
        seen["without_mask"] = read(ids, seen["tokens"], grid, packing).detach()
        return hidden

    monkeypatch.setattr(soho, "hide", spy_on_hide)
    monkeypatch.setattr(soho, "read", spy_on_read)
    seen["hits_before"] = soho.dictionary.cluster_sum.sum().clone()
    seen["output"] = soho_task.learner(soho_task, seen["inputs"])
    return seen


def test_foreign_pairs_are_masked_but_have_no_visual_loss(step: dict[str, Any]) -> None:
    inputs, masked = step["inputs"], step["masked"]
    packing, grid = inputs.packing, inputs.grid
    per_image = [masked[grid.image_of == i] for i in range(grid.num_images)]
    assert all(cells.any() for cells in per_image)
    step["output"].losses["mvm"].backward(retain_graph=True)
    with_loss = set(step["hidden"].grad.any(1).nonzero()[:, 0].tolist())
    expected = {
        row
        for row, cell in zip(packing.grid_rows.tolist(), packing.grid_cells.tolist(), strict=True)
        if packing.sequence_of[row] % 4 < 2 and masked[cell]
    }
    assert with_loss == expected
    # Foreign sequences read the mask embedding at the same cells: their hidden rows differ.
    hidden_rows = packing.grid_rows[masked[packing.grid_cells]]
    is_foreign = packing.sequence_of[hidden_rows] % 4 >= 2
    change = (step["hidden"] - step["without_mask"]).abs().amax(1)[hidden_rows]
    assert is_foreign.sum() == masked.sum() * 2
    assert (change[is_foreign] > 1e-4).all()


def test_one_existing_label_of_each_image_is_masked_everywhere(step: dict[str, Any]) -> None:
    indices, image_of = step["tokens"].indices, step["inputs"].grid.image_of
    for image in range(step["inputs"].grid.num_images):
        own, masked = indices[image_of == image], step["masked"][image_of == image]
        label = own[masked].unique()
        assert len(label) == 1
        assert torch.equal(masked, own == label)


def test_losses_equal_loops_and_the_total_is_their_sum(step: dict[str, Any], soho: Soho) -> None:
    inputs, output = step["inputs"], step["output"]
    hidden, masked, indices = step["hidden"], step["masked"], step["tokens"].indices
    packing = inputs.packing
    words = [
        -soho.masked_word_logits(hidden[row : row + 1]).log_softmax(1)[0, target]
        for row, target in zip(
            inputs.masked_rows.tolist(), inputs.masked_targets.tolist(), strict=True
        )
    ]
    codes = [
        -soho.code_logits(hidden[row : row + 1]).log_softmax(1)[0, indices[cell]]
        for row, cell in zip(packing.grid_rows.tolist(), packing.grid_cells.tolist(), strict=True)
        if masked[cell] and packing.sequence_of[row] % 4 < 2
    ]
    pairs = [
        -soho.match_logits(hidden[row : row + 1]).log_softmax(1)[0, int(s % 4 < 2)]
        for s, row in enumerate(packing.first_rows.tolist())
    ]
    for name, terms in (("mlm", words), ("mvm", codes), ("itm", pairs)):
        torch.testing.assert_close(output.losses[name], torch.stack(terms).mean())
    assert set(output.losses) == {"mlm", "mvm", "itm"}
    torch.testing.assert_close(output.total, sum(output.losses.values()))
    assert int(output.counts["mlm"][1]) == len(words)
    assert int(output.counts["mvm"][1]) == len(codes)
    assert int(output.counts["itm"][1]) == len(pairs)


def test_cnn_and_dictionary_run_once_an_image(step: dict[str, Any], soho: Soho) -> None:
    assert step["calls"] == 1
    hits = soho.dictionary.cluster_sum.sum() - step["hits_before"]
    assert int(hits) == step["inputs"].grid.num_cells
