"""`vlp-fast convert`: what is written is what was taken, and loads as if from the file itself."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_bert import TINY, bert, state_of
from foreign_detr import COCO, published, random_detr
from foreign_detr import TINY as TINY_E2E
from safetensors import safe_open
from safetensors.torch import save_file

from vlp_fast.errors import InputError
from vlp_fast.models import config
from vlp_fast.models.soho import Soho
from vlp_fast.weights.load import load_weights

Call = Callable[..., Any]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(35)))


@pytest.fixture(autouse=True)
def presets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config._PRESETS, "tiny_soho", TINY)
    monkeypatch.setitem(config._PRESETS, "tiny_e2e_vlp", TINY_E2E)


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bert"
    folder.mkdir()
    torch.save(state_of(bert()), folder / "pytorch_model.bin")
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    return folder


def assert_equal(model: Soho, other: Soho, names: tuple[str, ...]) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert names and all(torch.equal(ours[name], theirs[name]) for name in names)


def test_bert(call: Call, tmp_path: Path, bert_folder: Path) -> None:
    out = tmp_path / "soho.safetensors"
    done = call("convert", bert_folder, out, "--model", "tiny_soho")
    assert done.code == 0 and "is a BERT: 34 tensors loaded (text_embeddings" in done.out
    direct, converted = TINY.build(), TINY.build()
    first = load_weights(direct, bert_folder)
    second = load_weights(converted, out, vocabulary=WORDS)
    assert_equal(converted, direct, first.loaded)
    assert set(second.loaded) == set(first.loaded) and second.left == ()
    assert set(second.new) == set(first.new)


def test_what_tensors_do_not_tell_is_kept(call: Call, tmp_path: Path, bert_folder: Path) -> None:
    out = tmp_path / "soho.safetensors"
    call("convert", bert_folder, out, "--model", "tiny_soho")
    with pytest.raises(InputError, match="is of another vocabulary: the SHA-256 of its"):
        load_weights(TINY.build(), out, vocabulary=WORDS[::-1])
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS[::-1]))
    with pytest.raises(InputError, match="is of another vocabulary: the SHA-256 of its"):
        load_weights(TINY.build(), out, vocabulary=WORDS[::-1])  # lies there for something else
    with pytest.raises(InputError, match="num_heads 6, this model is of 4"):
        load_weights(replace(TINY, num_heads=4).build(), out)
    with safe_open(out, "pt") as file:
        header = file.metadata()
    assert (header["from"], header["model"]) == ("pytorch_model.bin", "tiny_soho")


def test_detr(call: Call, tmp_path: Path) -> None:
    path, out = tmp_path / "detr.safetensors", tmp_path / "e2e_vlp.safetensors"
    save_file({n: v.contiguous() for n, v in published(random_detr().state_dict()).items()}, path)
    assert call("convert", path, out, "--model", "tiny_e2e_vlp").code == 0
    direct, converted = TINY_E2E.build(), TINY_E2E.build()
    first = load_weights(direct, path)
    second = load_weights(converted, out, classes=COCO)
    assert_equal(converted, direct, first.loaded)
    assert set(second.new) == set(first.new) and "class_head.weight" in second.new


def test_names_of_rows_are_kept(call: Call, tmp_path: Path) -> None:
    """A converted model is of other classes where it is loaded, and goes by their names too."""
    folder, out = tmp_path / "exported", tmp_path / "out.safetensors"
    folder.mkdir()
    source = TINY_E2E.build()
    save_file(source.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"classes": COCO}))
    assert call("convert", folder, out, "--model", "tiny_e2e_vlp").code == 0
    model = TINY_E2E.build()
    load_weights(model, out, classes=COCO[::-1])
    rows = [*range(79, -1, -1), 80]
    assert torch.equal(model.class_head.weight, source.class_head.weight[rows])


def test_a_given_vocabulary_has_to_be_the_weights_own(
    call: Call, tmp_path: Path, bert_folder: Path
) -> None:
    out = tmp_path / "soho.safetensors"
    words = tmp_path / "words.txt"
    words.write_text("".join(f"{word}\n" for word in WORDS[::-1]))
    convert = ("convert", bert_folder, out, "--model", "tiny_soho", "--vocabulary")
    call(*convert, words).assert_refused("token 0 is '[PAD]' there and 'w34' here")
    assert not out.exists()
    assert call(*convert, bert_folder / "vocab.txt").code == 0


def test_wrong_calls_are_one_line(call: Call, tmp_path: Path, bert_folder: Path) -> None:
    out = tmp_path / "out.safetensors"
    missing = tmp_path / "resnet50-0676ba61.pth"
    for words, named in (
        ((missing, out, "--model", "soho_r50_12"), ("no such file; IN takes", "0676ba61")),
        ((bert_folder, out, "--model", "soho_r50_13"), ("--model: received", "soho_r50_12")),
        ((bert_folder, out), ("--model",)),
        ((bert_folder,), ("OUT",)),
        ((bert_folder, tmp_path / "a.pth", "--model", "tiny_soho"), ("end its name in .saf",)),
        ((bert_folder, tmp_path / "no" / out.name, "--model", "tiny_soho"), ("no such folder",)),
        ((bert_folder, out, "--model", "tiny_e2e_vlp"), ("a BERT, which has nothing for E2E",)),
        ((tmp_path, out, "--model", "tiny_soho"), ("a folder without weights",)),
    ):
        call("convert", *words).assert_refused(*named)
        assert not out.exists()
    out.touch()
    call("convert", bert_folder, out, "--model", "tiny_soho").assert_refused("is there already")


def test_help_and_wrong_paths_need_no_torch() -> None:
    code = (
        "import sys; from vlp_fast.cli import main\n"
        "try: main(['convert', '--help'])\n"
        "except SystemExit: pass\n"
        "assert main(['convert', 'a.pth', 'b.safetensors', '--model', 'soho_r50_12']) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "OUT" in done.stdout and "no such file; IN takes" in done.stderr


def test_what_is_missing_or_unknown_is_told_in_plain_words(
    call: Call, tmp_path: Path, bert_folder: Path
) -> None:
    out = tmp_path / "out.safetensors"
    call("convert", bert_folder).assert_refused("vlp-fast: OUT and --model are missing; `vlp-fast")
    call("convert", bert_folder, out).assert_refused("vlp-fast: --model is missing; ")
    call("convert", bert_folder, out, "--model").assert_refused("argument '--model', expected one;")
    answer = call("convert", bert_folder, out, "--model", "quite another")
    answer.assert_refused("received 'quite another'", "do you mean", "convert --help` lists all")
    assert len(answer.err) < 250
    (bert_folder / "config.json").write_text('{"num_attention_heads": 3}')
    call("convert", bert_folder, out, "--model", "tiny_soho").assert_refused(
        "is of num_heads 3, this model is of 6; give --model the name of one that has num_heads 3"
    )
    assert not out.exists()


def test_the_help_names_every_model(call: Call) -> None:
    told = " ".join(call("convert", "--help").out.replace("│", " ").split())
    family = re.compile(r"e2e_vlp_r(50|101|152)_(6|12)(_12h|_text)?")
    for name in set(config.model_names()) - {"tiny_soho", "tiny_e2e_vlp"}:
        assert name in told or family.fullmatch(name), name
    assert "e2e_vlp_rD_L, where D is 50, 101 or 152 and L is 6 or 12, with nothing, _12h" in told
