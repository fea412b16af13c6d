"""Programs give what the predictor gives, also after they were saved and loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.inference.conftest import Drawn, untrained
from vlp_fast.errors import InputError
from vlp_fast.inference.predictor import Predictor
from vlp_fast.inference.program import Program, make_program
from vlp_fast.inference.shipped import shipped_model
from vlp_fast.inference.words import encoded_masks
from vlp_fast.tasks.captioning.config import CaptioningConfig
from vlp_fast.tasks.downstream.config import ReasoningConfig

Call = Callable[..., Any]  # the fixture of conftest.py


def pixels_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]


@pytest.mark.filterwarnings("ignore:No complete tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning")
def test_a_saved_program_says_what_the_model_says(
    call: Call, e2e_vlp: Predictor, drawn: Drawn, tmp_path: Path
) -> None:
    text = "a [MASK] circle"
    words = ["export", shipped_model("e2e_vlp_small_world"), tmp_path / "model"]
    answer = call(*words, "--program", 64, 64, "--tokens", 5)
    assert answer.code == 0, answer.err
    assert "images (1, 3, 64, 64) uint8, text_ids (5,) int64" in answer.out
    program = torch.export.load(str(tmp_path / "model/program.pt2")).module()
    tokenizer = e2e_vlp.trained.tokenizer
    masked, plain = encoded_masks(tokenizer, text, 9)[0], tokenizer.encode("a red circle", 9)
    for path in drawn.paths[:3]:
        shares = program(pixels_of(path), torch.tensor(masked))["fill"][2].softmax(-1)
        for word, share in e2e_vlp.fill(path, text).words[0]:  # type: ignore[union-attr]
            assert float(shares[tokenizer.vocabulary.index(word)]) == pytest.approx(share, abs=1e-5)
        found = program(pixels_of(path), torch.tensor(plain))
        objects = e2e_vlp.detect(path, "a red circle", threshold=0)
        scores = found["detect_logits"].softmax(-1)[:, :-1].max(-1).values
        np.testing.assert_allclose(np.sort(scores)[::-1], objects.scores, atol=1e-5)  # type: ignore[union-attr]
        share = float(found["match"].sigmoid())
        assert e2e_vlp.match(path, "a red circle") == pytest.approx(share, abs=1e-6)


def test_two_pictures_are_compared() -> None:
    model = untrained(ReasoningConfig(head="linear"))
    sentence = "is it true ?"
    ids = torch.tensor(model.trained.tokenizer.encode(sentence, 16))
    program = make_program(model.trained, (48, 64), len(ids)).module()
    canvas = Program(model.trained, (48, 64), len(ids)).canvas
    pair = torch.zeros(2, 3, *canvas, dtype=torch.uint8)
    pair[1, :, :48, :64] = 180
    shares = program(pair, ids)["compare"].softmax(-1).tolist()
    said = model.compare(pair[0, :, :48, :64], pair[1, :, :48, :64], sentence)
    assert dict(said.ranked)["true"] == pytest.approx(shares[1], abs=1e-5)  # type: ignore[union-attr]


def test_codes_are_a_map(soho: Predictor, drawn: Drawn) -> None:
    program = make_program(soho.trained, (64, 64), 4).module()
    ids = torch.tensor(soho.trained.tokenizer.encode("a star", 9))
    found = program(pixels_of(drawn.paths[0]), ids)
    np.testing.assert_array_equal(found["codes"], soho.codes(drawn.paths[0]))
    assert set(found) == {"match", "fill", "codes"}


def test_what_is_no_program(soho: Predictor) -> None:
    for length in (1, 25):
        with pytest.raises(ValueError, match=f"length {length}, expected 2 to 24"):
            make_program(soho.trained, (64, 64), length)
    writer = untrained(ReasoningConfig(head="linear")).trained
    object.__setattr__(writer.about, "task", CaptioningConfig())
    with pytest.raises(InputError, match="writes captions"):
        make_program(writer, (64, 64), 4)
