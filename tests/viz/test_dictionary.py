"""The dictionary's part of a page: counts, perplexity, words, patches."""

import base64
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vlp_fast
from vlp_fast.data.sources.drawn_world import load_drawn_world
from vlp_fast.data.world.bounds import SMALL
from vlp_fast.data.world.layouts import make_world
from vlp_fast.tasks.pretraining.code_maps import SIDE, CodedPicture
from vlp_fast.viz.dictionary import PATCHES, Codes, codes_of, dictionary_section, words_of


def drawn_pixels() -> torch.Tensor:
    return torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)


def made(maps: list[list[list[int]]], words: list[str], num_codes: int) -> Codes:
    pictures = [CodedPicture(drawn_pixels(), torch.tensor(codes)) for codes in maps]
    every = np.array(maps).flatten()
    counts = np.bincount(every, minlength=num_codes)
    return Codes(pictures=pictures, words=[frozenset(w.split()) for w in words], counts=counts)


def test_words_by_mutual_information() -> None:
    maps = [[[0, 1], [1, 1]]] * 4 + [[[2, 2], [2, 1]]] * 4
    words = ["a red star"] * 3 + ["a star"] + ["a blue star", "a blue box", "a blue", "a"]
    codes = made(maps, words, 5)
    assert words_of(codes, 0) == [
        ("red", pytest.approx(1.0)),  # 3 of 3 red ones are among 4 of 8
        ("star", pytest.approx(math.log2(4 * 8 / (4 * 5)))),
    ]
    assert dict(words_of(codes, 2)) == {"blue": pytest.approx(1.0)}
    assert words_of(codes, 1) == []  # in every picture: it goes with nothing
    shares = np.array([4, 16, 12]) / 32
    assert codes.perplexity == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    section = dictionary_section(codes).body
    assert "3 of 5 codes have a cell of 8 held-out pictures" in section
    assert section.count("<rect") == 5


def test_codes_of_a_trained_model_go_with_colours(tmp_path: Path) -> None:
    make_world(tmp_path / "world", images=60, seed=5, bounds=SMALL)
    model = vlp_fast.load("soho_small_world", device="cpu")
    (train,) = load_drawn_world(tmp_path / "world", ["train"], missing_images="error")
    records = list(train.records)[:51]
    records[3].path.write_bytes(b"broken")
    codes = codes_of(model, records, 64)
    assert len(codes.pictures) == len(codes.words) == 50
    assert codes.pictures[0].pixels.dtype == torch.uint8
    assert codes.counts.sum() == sum(one.codes.numel() for one in codes.pictures)
    most = [words_of(codes, int(code)) for code in np.argsort(-codes.counts)[:8]]
    best = {words[0][0] for words in most if words}
    assert best & {"sand", "snow", "grass", "water"}
    body = dictionary_section(codes).body
    assert len(re.findall(r'alt="cells that have code \d+"', body)) == 24


def test_patches_show_the_pixels_of_their_cells() -> None:
    codes = made([[[0, 1], [1, 1]], [[1, 1], [1, 0]]], ["a", "b"], 2)
    body = dictionary_section(codes).body
    strips = re.findall(
        r'alt="cells that have code (\d)" src="data:image/png;base64,([^"]+)"', body
    )
    assert [code for code, _ in strips] == ["1", "0"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(strips[1][1]))))
    first, second = (one.pixels.permute(1, 2, 0).numpy() for one in codes.pictures)
    assert shown.shape == (SIDE, PATCHES * SIDE, 3)
    assert (shown[:, 2 * SIDE :] == 255).all(), "places of patches that there are not"
    np.testing.assert_array_equal(shown[:: SIDE // 4, : SIDE : SIDE // 4], first[:4, :4])
    np.testing.assert_array_equal(shown[:: SIDE // 4, SIDE : 2 * SIDE : SIDE // 4], second[4:, 4:])
