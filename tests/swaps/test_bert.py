"""BERT of transformers after `accelerate`, beside itself before it."""

import copy
import pickle
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertModel
from transformers.models.bert.modeling_bert import BertSelfAttention

import vlp_fast
from vlp_fast.swaps.bert import TokenMasks

LENGTH, WORDS = 9, 30
MASKS = {
    "at the end": [[1] * 4 + [0] * 5, [1] * 9, [1] + [0] * 8],
    "at the start": [[0] * 5 + [1] * 4, [1] * 9, [0] * 8 + [1]],
    "none": [[1] * 9] * 3,
}


def bert(**options: Any) -> BertForMaskedLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 24, "vocab_size": WORDS, "max_position_embeddings": 16}
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertForMaskedLM(BertConfig(**{**sizes, **rates, **options})).train()


def batch(kind: str) -> dict[str, Tensor]:
    mask = torch.tensor(MASKS[kind])
    words = torch.randint(WORDS, (3, LENGTH), generator=torch.Generator().manual_seed(1))
    labels = words.masked_fill((mask == 0) | (words % 2 == 0), -100)
    return {"input_ids": words, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", MASKS)
def test_losses_logits_and_gradients(kind: str, dtype: torch.dtype) -> None:
    theirs = bert().to(dtype)
    ours = copy.deepcopy(theirs)
    vlp_fast.accelerate(ours)
    given = batch(kind)
    seen = given["attention_mask"].bool()
    bound = {torch.float32: 1e-5, torch.float64: 1e-11, torch.bfloat16: 0.03}[dtype]
    results = [(m(**given), list(m.parameters())) for m in (theirs, ours)]
    (expected, _), (found, _) = results
    torch.testing.assert_close(found.loss, expected.loss, atol=bound, rtol=bound)
    torch.testing.assert_close(found.logits[seen], expected.logits[seen], atol=bound, rtol=bound)
    gradients = [torch.autograd.grad(out.loss, parameters) for out, parameters in results]
    scale = max(float(x.abs().max()) for x in gradients[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other / scale, one / scale, atol=bound, rtol=bound)
    assert not ours.bert._create_attention_masks.told


def test_padding_is_not_read() -> None:
    model = bert()
    vlp_fast.accelerate(model)
    given = batch("at the end")
    changed = given["input_ids"].where(given["attention_mask"] == 1, 0)
    seen = given["attention_mask"].bool()
    found = [
        model.bert(words, attention_mask=given["attention_mask"]).last_hidden_state[seen]
        for words in (given["input_ids"], changed)
    ]
    assert torch.equal(*found)


def test_dropout_is_of_training_alone() -> None:
    model = bert(attention_probs_dropout_prob=0.5)
    vlp_fast.accelerate(model)
    given = batch("at the end")
    one, other = (model(**given).loss for _ in range(2))
    assert one != other
    model.eval()
    assert torch.equal(model(**given).loss, model(**given).loss)


def test_other_calls_are_the_originals_and_told() -> None:
    theirs, ours = bert(), bert()  # no deep copies: transformers knows nothing of what these record
    report = vlp_fast.accelerate(ours)
    words = batch("none")["input_ids"]
    full = torch.ones(3, 1, LENGTH, LENGTH).tril().bool()
    for given in ({}, {"attention_mask": full}):
        found, expected = (model(words, **given).logits for model in (ours, theirs))
        assert torch.equal(found, expected)
    for model in (ours, theirs):
        model.set_attn_implementation("eager")
    given = batch("at the end")
    outs = [model(**given, output_attentions=True) for model in (ours, theirs)]
    assert torch.equal(outs[0].logits, outs[1].logits)
    assert torch.equal(outs[0].attentions[0], outs[1].attentions[0])
    assert "1 for no attention_mask" in str(report) and "'eager', not 'sdpa'" in str(report)


def test_copies_and_pickles_run_on_ours() -> None:
    model = bert()
    vlp_fast.accelerate(model)
    given = batch("at the end")
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        masks = twin.bert._create_attention_masks
        assert masks.model is twin.bert
        assert torch.equal(twin(**given).logits, model(**given).logits) and not masks.told


def test_a_mask_of_another_shape_is_the_originals() -> None:
    """A mask (1, L) would be broadcast, and rows of all other sequences be lost."""
    model = bert()
    report = vlp_fast.accelerate(model)
    given = batch("at the end")
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        model(given["input_ids"], attention_mask=given["attention_mask"][:1])
    assert "not (S, L)" in str(report)


def test_checkpointing_of_gradients() -> None:
    model = bert()
    vlp_fast.accelerate(model)
    given, wanted = batch("at the end"), list(model.parameters())
    before = torch.autograd.grad(model(**given).loss, wanted)
    model.gradient_checkpointing_enable()
    after = torch.autograd.grad(model(**given).loss, wanted)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_model_keeps_its_state_and_restore_takes_the_classes_back() -> None:
    model = bert()
    keys, text = list(model.state_dict()), repr(model)
    parts = list(model.named_parameters())
    expected = model(**batch("at the end")).logits
    report = vlp_fast.accelerate(model)
    assert "2 layers" in report.swapped["bert"] and type(model.bert) is BertModel
    assert "PackedBertSelfAttention" in repr(model)
    assert list(model.state_dict()) == keys
    assert all(dict(model.named_parameters())[name] is part for name, part in parts)
    report.restore()
    assert repr(model) == text and torch.equal(model(**batch("at the end")).logits, expected)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"is_decoder": True}, "a decoder"), ({"attn_implementation": "eager"}, "'eager'")],
)
def test_other_models_are_left_and_named(options: dict[str, Any], reason: str) -> None:
    model = bert(**options)
    assert reason in vlp_fast.accelerate(model, strict=False).left["bert"]


def test_another_attention_inside_or_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bert()
    model.bert.encoder.layer[1].attention.self = nn.Identity()
    assert "Identity" in vlp_fast.accelerate(model, strict=False).left["bert"]
    theirs = BertSelfAttention.forward

    def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        rows, weights = theirs(self, *args, **kwargs)
        return 1.01 * rows, weights

    with monkeypatch.context() as patch:
        patch.setattr(BertSelfAttention, "forward", changed)
        assert "differs from" in vlp_fast.accelerate(bert(), strict=False).left["bert"]
    with monkeypatch.context() as patch:
        patch.setattr(BertModel, "_create_attention_masks", lambda self, **_: (None, None))
        assert "differs from" in vlp_fast.accelerate(bert(), strict=False).left["bert"]
        patch.setattr(TokenMasks, "__call__", lambda self, attention_mask: (attention_mask, None))
        assert "raises TypeError" in vlp_fast.accelerate(bert(), strict=False).left["bert"]
    model = bert()
    rng = torch.get_rng_state()
    vlp_fast.accelerate(model)
    assert torch.equal(torch.get_rng_state(), rng)
    monkeypatch.delattr(BertModel, "_create_attention_masks")
    told = vlp_fast.accelerate(bert(), strict=False).left["bert"]
    assert transformers.__version__ in told
