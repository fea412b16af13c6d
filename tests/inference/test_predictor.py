"""What models say: right where they were trained, the same alone and in company."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import vlp_fast
from tests.inference.conftest import Drawn, untrained
from vlp_fast.errors import InputError
from vlp_fast.inference import answers
from vlp_fast.inference.predictor import Predictor
from vlp_fast.inference.results import Objects
from vlp_fast.inference.words import CutText
from vlp_fast.layers.beam_search import beam_search
from vlp_fast.ops.packing import make_packing
from vlp_fast.tasks.downstream.config import AnsweringConfig, EntailmentConfig, ReasoningConfig
from vlp_fast.tasks.images import batch_images


def crops(drawn: Drawn) -> list[np.ndarray]:
    """Pictures of several sizes."""
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in drawn.paths[:6]]
    sizes = [(64, 64), (48, 64), (64, 40), (64, 64), (33, 57), (48, 64)]
    return [p[:h, :w] for p, (h, w) in zip(pixels, sizes, strict=True)]


def test_objects_and_captions_are_those_of_the_drawings(e2e_vlp: Predictor, drawn: Drawn) -> None:
    found = e2e_vlp.detect(drawn.paths)
    right = sum(
        set(zip(one.attributes, one.labels, strict=True)) == set(things)
        for one, things in zip(found, drawn.things, strict=True)
    )
    assert right >= 32  # of 40; 38 when this was written
    captions = e2e_vlp.caption(drawn.paths)
    alone = [place for place, things in enumerate(drawn.things) if len(things) == 1]
    told = [place for place in alone if drawn.things[place][0][1] in captions[place]]
    assert len(told) >= 0.7 * len(alone) > 5


def test_captions_are_searched_as_the_run_would(
    e2e_vlp: Predictor, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Length and alpha reach the search, and what it finds is what is said."""
    asked = []

    def spy(*given: Any, **settings: Any) -> Any:
        asked.append(settings)
        return beam_search(*given, **settings)

    monkeypatch.setattr(answers, "beam_search", spy)
    e2e_vlp.caption(drawn.paths[0], beams=3)
    length, end = e2e_vlp.trained.about.data.max_text_length - 1, e2e_vlp.trained.tokenizer.sep_id
    assert asked == [{"end_id": end, "max_length": length, "num_beams": 3, "alpha": 0.9}]


def test_boxes_are_in_pixels_of_the_picture_as_it_came(e2e_vlp: Predictor, drawn: Drawn) -> None:
    boxes = [e2e_vlp.detect(path).boxes for path in drawn.paths[:8]]
    wide = [Image.open(path).resize((128, 64)) for path in drawn.paths[:8]]
    size = np.array([128, 64, 128, 64])
    for box, picture in zip(boxes, wide, strict=True):
        assert box.dtype == np.float32
        assert (box[:, :2] < box[:, 2:]).all()
        assert (box <= 64).all()
        assert (e2e_vlp.detect(picture, threshold=0).boxes <= size).all()
    assert e2e_vlp.detect(wide, threshold=0)[0].boxes.max() > 64


def test_another_default_device_changes_nothing(e2e_vlp: Predictor, drawn: Drawn) -> None:
    usual = e2e_vlp.detect(drawn.paths[0])
    with torch.device("meta"):
        found = e2e_vlp.detect(drawn.paths[0])
        assert e2e_vlp.fill(drawn.paths[0], "a [MASK] star")
    np.testing.assert_array_equal(found.boxes, usual.boxes)  # type: ignore[union-attr]


def test_a_text_is_read_beside_the_picture(e2e_vlp: Predictor, drawn: Drawn) -> None:
    path = drawn.paths[0]
    alone, told = e2e_vlp.detect(path, threshold=0), e2e_vlp.detect(path, "a", threshold=0)
    assert not np.allclose(alone.scores, told.scores)
    several = e2e_vlp.detect([path, path], ["a", "there are two"], threshold=0)
    np.testing.assert_allclose(several[0].scores, told.scores, atol=1e-5)
    assert not np.allclose(several[1].scores, told.scores)


def test_words_that_a_picture_determines_are_filled_in(
    e2e_vlp: Predictor, soho: Predictor, drawn: Drawn
) -> None:
    alone = [p for p, things in enumerate(drawn.things) if len(things) == 1]
    texts = [f"a [MASK] {drawn.things[place][0][1]}" for place in alone]
    for model in (e2e_vlp, soho):
        filled = model.fill([drawn.paths[place] for place in alone], texts)
        colours = [drawn.things[place][0][0] for place in alone]
        right = sum(
            one.words[0][0][0] == colour for one, colour in zip(filled, colours, strict=True)
        )
        assert right >= 0.7 * len(alone)
        for one, text in zip(filled, texts, strict=True):
            assert one.text == text.replace("[MASK]", one.words[0][0][0])
            shares = [share for _, share in one.words[0]]
            assert shares == sorted(shares, reverse=True)
            assert 0 < sum(shares) <= 1.00001


def test_true_texts_are_matched_more_than_false_ones(soho: Predictor, drawn: Drawn) -> None:
    alone = [p for p, things in enumerate(drawn.things) if len(things) == 1]
    names = [" ".join(drawn.things[place][0]) for place in alone]
    scores = soho.match([drawn.paths[place] for place in alone], [f"a {name}" for name in names])
    assert scores.shape == (len(alone), len(alone))
    same = np.array([[a == b for b in names] for a in names])
    assert scores[same].mean() > scores[~same].mean() + 0.5


def test_results_are_those_of_each_picture_alone(
    e2e_vlp: Predictor, soho: Predictor, drawn: Drawn
) -> None:
    pictures = crops(drawn)
    together, alone = (
        e2e_vlp.detect(pictures, threshold=0),
        [e2e_vlp.detect(picture, threshold=0) for picture in pictures],
    )
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        assert one.labels == other.labels
    assert e2e_vlp.caption(pictures) == [e2e_vlp.caption(picture) for picture in pictures]
    for model in (e2e_vlp, soho):
        scores = model.match(pictures, ["a", "a red circle"])
        np.testing.assert_allclose(
            scores, [model.match([p], ["a", "a red circle"])[0] for p in pictures], atol=1e-6
        )
        assert len(np.unique(scores)) == scores.size
    for one, picture in zip(soho.codes(pictures), pictures, strict=True):
        np.testing.assert_array_equal(one, soho.codes(picture))
    assert len({codes.shape for codes in soho.codes(pictures)}) > 1


def test_many_texts_are_read_in_blocks(
    soho: Predictor, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"a {colour} {kind}" for colour in ("red", "blue") for kind in ("circle", "star")]
    whole = soho.match(drawn.paths[:4], texts)
    monkeypatch.setattr("vlp_fast.inference.reading.ROWS", 50)
    monkeypatch.setattr("vlp_fast.inference.reading.PIXELS", 64 * 64 * 2)
    np.testing.assert_allclose(soho.match(drawn.paths[:4], texts), whole, atol=1e-6)


def test_questions_about_the_drawings_are_answered(drawn: Drawn) -> None:
    model = vlp_fast.load("vqa_soho_small_world", device="cpu")
    counts = model.answer(drawn.paths, "How many objects are there?")
    right = sum(one.text == str(len(t)) for one, t in zip(counts, drawn.things, strict=True))
    assert right >= 34  # of 40
    alone = [place for place, things in enumerate(drawn.things) if len(things) == 1]
    texts = [f"What color is the {drawn.things[place][0][1]}?" for place in alone]
    colours = model.answer([drawn.paths[place] for place in alone], texts)
    names = [drawn.things[place][0][0] for place in alone]
    assert sum(one.text == name for one, name in zip(colours, names, strict=True)) >= 0.8 * len(
        alone
    )


def test_questions_are_answered_as_by_the_task() -> None:
    """Against a pass of one sample, laid out by hand."""
    names = ("yes", "no", "2", "red")
    model = untrained(AnsweringConfig(head="lxmert"), names)
    assert model.trained.classifier is not None
    pictures = [np.full((48 + 16 * n, 64, 3), 40 * n, np.uint8) for n in range(3)]
    questions = ["how many red circles ?", "is it true ?"]
    about = [model.answer(pictures[0], questions), model.answer(pictures, questions[1])]
    assert dict(about[0][1].ranked) == pytest.approx(dict(about[1][0].ranked), abs=1e-6)
    for one, picture in zip(about[1], pictures, strict=True):
        row = first_row(model, picture, questions[1])
        shares = model.trained.classifier(row)[0].sigmoid()
        order = shares.argsort(descending=True).tolist()
        assert [name for name, _ in one.ranked] == [names[place] for place in order]
        assert one.score == pytest.approx(float(shares.max()), abs=1e-6)
        assert one.text == one.ranked[0][0]
    assert len(model.answer(pictures[0], questions[0], top=2).ranked) == 2


def test_left_and_right_are_told_apart_and_kept_together() -> None:
    model = untrained(ReasoningConfig(head="linear"))
    assert model.trained.classifier is not None
    dark, light = np.zeros((48, 64, 3), np.uint8), np.full((64, 48, 3), 200, np.uint8)
    sentence = "both images show a blue square ."
    for left, right in ((dark, light), (light, dark)):
        rows = [first_row(model, picture, sentence) for picture in (left, right)]
        shares = model.trained.classifier(torch.cat(rows, 1))[0].softmax(-1).tolist()
        said = model.compare(left, right, sentence)
        assert dict(said.ranked) == pytest.approx({"false": shares[0], "true": shares[1]}, abs=1e-6)
    several = model.compare([dark, light], [light, dark], [sentence, "is it true ?"])
    assert several[0].score == pytest.approx(model.compare(dark, light, sentence).score, abs=1e-6)
    one = model.compare(dark, light, [sentence, "is it true ?"])
    assert one[0].score == pytest.approx(several[0].score, abs=1e-6)


def test_no_pictures_or_no_questions_have_no_answers() -> None:
    picture = np.zeros((48, 48, 3), np.uint8)
    answering = untrained(AnsweringConfig(head="linear"), ("yes", "no"))
    assert answering.answer([], "how many ?") == answering.answer(picture, []) == []
    assert answering.answer([], []) == []
    reasoning = untrained(ReasoningConfig(head="linear"))
    assert reasoning.compare([], [], "is it true ?") == []
    assert reasoning.compare(picture, picture, []) == []


def test_a_hypothesis_has_one_of_three_labels() -> None:
    model = untrained(EntailmentConfig())
    said = model.entails(np.zeros((48, 48, 3), np.uint8), "is it true ?")
    assert {name for name, _ in said.ranked} == {"entailment", "neutral", "contradiction"}
    assert sum(share for _, share in said.ranked) == pytest.approx(1)


def first_row(model: Predictor, picture: np.ndarray, text: str) -> torch.Tensor:
    """(1, D) [CLS], by the model's own pass."""
    trained = model.trained
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    scale = min(48 / min(picture.shape[:2]), 96 / max(picture.shape[:2]))
    size = [round(side * scale) for side in picture.shape[:2]]
    resized = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    example = model._opened([resized[0].round().byte()])[0].example
    images, sizes, grid = batch_images([example], trained.model)
    ids = trained.tokenizer.encode(text, 16)
    with torch.no_grad():
        seen = trained.model.see(images, grid, sizes, codes=False)
        packing = make_packing([len(ids)], [0], grid)
        return trained.model.read(torch.tensor(ids), seen, grid, packing)[:1]


def test_what_was_not_learnt_is_refused(soho: Predictor, drawn: Drawn) -> None:
    assert soho.abilities == ("match", "fill", "codes")
    for ask in (
        lambda: soho.caption(drawn.paths[0]),
        lambda: soho.detect(drawn.paths[0]),
        lambda: soho.answer(drawn.paths[0], "what ?"),
        lambda: soho.entails(drawn.paths[0], "a circle"),
        lambda: soho.compare(drawn.paths[0], drawn.paths[1], "a circle"),
    ):
        with pytest.raises(InputError, match=r"soho_small_world has not learnt it.*match, fill"):
            ask()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("", "empty text"),
        ([" "], "empty text"),
        (["a", "b"], "received 3 pictures and 2 texts"),
        ("no mask", r"expected a text with \[MASK\]"),
        (f"[MASK] {'word ' * 40}", "expected at most the 24"),
    ],
)
def test_texts_that_cannot_be_read(
    soho: Predictor, drawn: Drawn, texts: str | list[str], message: str
) -> None:
    ask = soho.fill if message != "empty text" else soho.match
    with pytest.raises(ValueError, match=message):
        ask(drawn.paths[:3], texts)


def test_nothing_found_is_a_result(e2e_vlp: Predictor) -> None:
    nothing = e2e_vlp.detect(np.zeros((64, 64, 3), np.uint8), threshold=1.0)
    assert isinstance(nothing, Objects)
    assert (len(nothing), nothing.boxes.shape, nothing.labels) == (0, (0, 4), ())
    assert e2e_vlp.detect([]) == []
    assert e2e_vlp.match([], ["a"]).shape == (0, 1)


def test_pictures_that_are_none(e2e_vlp: Predictor, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png"):
        e2e_vlp.detect(tmp_path / "text.png")
    with pytest.raises(InputError, match=r"gone\.png.*No such file"):
        e2e_vlp.caption([tmp_path / "gone.png"])


def test_which_of_several_pictures_is_none(e2e_vlp: Predictor, drawn: Drawn) -> None:
    good = drawn.paths[0]
    for bad in (b"no picture", Image.new("RGB", (0, 4)), np.zeros((4, 4, 3)), torch.zeros(2, 4, 4)):
        with pytest.raises((InputError, ValueError), match="picture 2 of 3"):
            e2e_vlp.caption([good, bad, bad])
    with pytest.raises(TypeError, match="received int as picture 3 of 3"):
        e2e_vlp.caption([good, good.read_bytes(), 7])  # type: ignore[list-item]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_that_are_no_probability(e2e_vlp: Predictor, threshold: float) -> None:
    for ask in (e2e_vlp.detect, e2e_vlp.object_attention):
        with pytest.raises(ValueError, match=r"threshold = .*, expected 0 to 1"):
            ask(np.zeros((64, 64, 3), np.uint8), threshold=threshold)


def test_counts_that_are_none(e2e_vlp: Predictor, drawn: Drawn) -> None:
    for beams in (0, 2.0, "3"):
        with pytest.raises(ValueError, match="expected a whole number, 1 or more"):
            e2e_vlp.caption(drawn.paths[0], beams=beams)  # type: ignore[arg-type]
    assert e2e_vlp.caption(drawn.paths[0], beams=np.int64(2))  # type: ignore[arg-type]


def test_a_picture_that_is_opened_is_seen_once(
    soho: Predictor, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a [MASK] star", "a [MASK] circle", "a [MASK] moon"]
    expected = [soho.fill(path, text) for path in drawn.paths[:2] for text in texts]
    seen, see = [], soho.trained.model.see
    monkeypatch.setattr(
        soho.trained.model,
        "see",
        lambda images, *given, **options: (
            seen.append(len(images)) or see(images, *given, **options)
        ),  # type: ignore[func-returns-value]
    )
    opened = soho._opened(drawn.paths[:2])
    found = soho.fill([picture for picture in opened for _ in texts], texts * 2)
    assert sum(seen) == 2
    for one, other in zip(found, expected, strict=True):  # type: ignore[arg-type]
        assert one.text == other.text  # type: ignore[union-attr]
        assert one.words[0][0][1] == pytest.approx(other.words[0][0][1], abs=1e-5)  # type: ignore[union-attr]


def test_the_end_of_a_long_text_is_not_read_and_told(soho: Predictor, drawn: Drawn) -> None:
    room = soho.trained.about.data.max_text_length - 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = soho.match(drawn.paths[0], "star " * room)
    with pytest.warns(CutText, match=f"of which the model reads {room} tokens"):
        cut = soho.match(drawn.paths[0], "star " * room + "circle")
    assert cut == whole
