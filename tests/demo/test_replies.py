"""What the page says and draws, without gradio and without a browser."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vlp_fast
from tests.inference.conftest import untrained
from vlp_fast.data import images
from vlp_fast.demo.asking import TOOLS, ask
from vlp_fast.demo.models import Named, having, load_models, names_of
from vlp_fast.demo.pictures import LONGER, picture_of, with_boxes, with_codes
from vlp_fast.demo.replies import Replies
from vlp_fast.demo.shown import text
from vlp_fast.demo.uploads import BYTES, Upload, pixels_of, upload_of
from vlp_fast.errors import InputError
from vlp_fast.inference.shipped import shipped_model
from vlp_fast.inference.words import CutText
from vlp_fast.tasks.downstream.config import EntailmentConfig, ReasoningConfig

BY_ABILITY = {tool.ability: tool for tool in TOOLS}


@pytest.fixture
def drawing(small_drawings: Path) -> Upload:
    path = min((small_drawings / "images").iterdir())
    return Upload(path, path.name)


@pytest.fixture(scope="module")
def soho() -> Named:
    return Named(name="soho", model=vlp_fast.load("soho_small_world", device="cpu"))


def test_a_text_that_is_cut_is_told_before_the_answer(soho: Named, drawing: Upload) -> None:
    pixels = [pixels_of(drawing)]
    with pytest.warns(CutText):
        reply = ask(BY_ABILITY["match"], [soho], pixels, "a star\n" + "very " * 40 + "red star")
    assert reply.count('class="hint"') == 1
    assert reply.index("its end changes nothing") < reply.index('class="bars"')
    assert "hint" not in ask(BY_ABILITY["match"], [soho], pixels, "a star")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["runs/a"], ["a"]),
        (["runs/a", "runs/b/"], ["a", "b"]),
        (["one/best", "other/best"], ["one/best", "other/best"]),
        (["x/one/best", "y/one/best", "y/two/best"], ["x/one/best", "y/one/best", "y/two/best"]),
        (
            ["soho_small_world", "runs/soho_small_world"],
            ["soho_small_world", "runs/soho_small_world"],
        ),
        (["hf://you/model", "runs/model"], ["you/model", "runs/model"]),
        (["runs/a", "runs/a"], ["runs/a (1)", "runs/a (2)"]),
    ],
)
def test_models_have_the_shortest_names_that_tell_them_apart(
    given: list[str], names: list[str]
) -> None:
    assert names_of(given) == names


def test_models_are_asked_for_what_they_have_learnt() -> None:
    given = ["soho_small_world", "vqa_soho_small_world"]
    models = load_models(given, [shipped_model(name) for name in given], "cpu")
    assert [one.name for one in having(models, "answer")] == ["vqa_soho_small_world"]
    assert [one.name for one in having(models, "match")] == ["soho_small_world"]
    pixels = torch.full((3, 64, 64), 200, dtype=torch.uint8)
    said = ask(BY_ABILITY["match"], models, [pixels], "a star")
    assert "<h4>" not in said  # one model has no need of its name
    twice = ask(BY_ABILITY["match"], [models[0], *models], [pixels], "a star")
    assert re.findall("<h4>(.*?)</h4>", twice) == ["soho_small_world"] * 2


def test_boxes_are_where_they_are_and_the_surest_lies_on_top() -> None:
    ground = Image.new("RGB", (400, 200), "white")
    boxes = np.array([[0.25, 0.5, 0.75, 0.9], [0.25, 0.5, 0.5, 0.9]], np.float32)
    drawn = np.asarray(with_boxes(ground, boxes, ["sure", "less so"], [0.9, 0.6]))
    first, second = (216, 27, 96), (21, 101, 192)
    assert tuple(drawn[140, 102]) == first  # where both have an edge
    assert tuple(drawn[140, 298]) == first
    assert tuple(drawn[140, 198]) == second
    assert tuple(drawn[140, 250]) == (255, 255, 255)
    assert (drawn[:60] == 255).all()
    label = (drawn[66:96, 100:160] == first).all(-1)
    assert label.mean() > 0.5


def test_labels_stay_in_the_picture() -> None:
    ground = Image.new("RGB", (300, 200), "white")
    boxes = np.array([[0.95, 0.01, 1.0, 0.2], [0.0, 0.0, 0.0, 0.0]], np.float32)
    drawn = np.asarray(with_boxes(ground, boxes, ["a corner", "nothing"], [0.9, 0.6]))
    paint = (drawn == (216, 27, 96)).all(-1)
    assert paint[:45, 100:].sum() > 2_000  # moved to the left and downwards
    assert with_boxes(ground, np.zeros((0, 4)), [], []).tobytes() == ground.tobytes()


def test_each_code_has_its_colour_in_its_cells() -> None:
    ground = Image.new("RGB", (640, 320), "white")
    codes = np.array([[7, 7, 300, 7], [8, 7, 300, 1]])
    drawn = np.asarray(with_codes(ground, codes)).astype(int)
    corner = drawn[8::160, 8::160].reshape(2, 4, 3)
    for code in (7, 300):
        assert len({tuple(paint) for paint in corner[codes == code]}) == 1
    assert len({tuple(paint) for paint in corner.reshape(-1, 3)}) == 4
    cell = np.asarray(with_codes(ground, np.full((2, 4), 7)))
    assert len(np.unique(cell.reshape(-1, 3), axis=0)) > 2  # its number is written there
    small = np.asarray(with_codes(ground, np.full((20, 40), 7)))
    assert len(np.unique(small.reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize("size", [(64, 64), (1, 3_000), (2_000, 900)])
def test_pictures_are_as_large_as_the_page_has_room(size: tuple[int, int]) -> None:
    pixels = torch.zeros(3, *size, dtype=torch.uint8)
    shown = picture_of(pixels)
    assert max(shown.size) == LONGER
    assert min(shown.size) >= 1
    assert (shown.width > shown.height) == (size[1] > size[0])


def test_uploads_are_looked_at_by_their_headers(
    drawing: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.asarray(Image.open(drawing.path).convert("RGB"))
    np.testing.assert_array_equal(pixels_of(drawing).permute(1, 2, 0).numpy(), pixels)
    path = tmp_path / "stored.png"
    Image.new("1", (9_000, 8_000)).save(path)  # 72 million pixels in 9 KB
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(images, "_decoded", lambda *_: pytest.fail("it is decoded"))
    with pytest.raises(InputError, match=r"^mine\.png: declares more than the 64,000,000 pixels"):
        pixels_of(Upload(path, "mine.png"))
    with path.open("ab") as file:
        file.truncate(BYTES + 1)
    with pytest.raises(InputError, match=r"^mine\.png: has more than 20,971,520 bytes"):
        pixels_of(Upload(path, "mine.png"))
    path.unlink()
    with pytest.raises(InputError, match=r"^mine\.png: is gone"):
        pixels_of(Upload(path, "mine.png"))


def test_a_picture_that_is_no_file_is_none() -> None:
    class Payload:
        path: str | None = None
        orig_name = None
        url = "data:image/png;base64,AAAA"

    payload: Any = Payload()
    assert upload_of(payload) is None
    assert upload_of(None) is None
    payload.path = "/there/a.png"
    assert upload_of(payload) == Upload(Path("/there/a.png"), "a.png")


def test_words_are_text_and_no_template() -> None:
    assert text("<b>&'\"") == "&lt;b&gt;&amp;&#x27;&quot;"
    assert not {*"${}`\\<>"} & {*text("${1} {{value}} `a` \\u0041 <i>")}


def test_nothing_is_said_about_no_picture(soho: Named, drawing: Upload) -> None:
    replies = Replies([soho])
    match = BY_ABILITY["match"]
    assert "Upload a picture" in replies.seen(None, 0.5)
    assert "Upload a picture" in replies.said(match, None, "a star")
    assert replies.said(match, drawing, "  \n ") == ""
    seen, said = replies.all([match], None, 0.5, "a star")
    assert ("Upload a picture" in seen, said) == (True, "")


def test_a_refused_picture_is_told_where_the_page_has_room(soho: Named, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no picture")
    upload = Upload(tmp_path / "words.png", "words.png")
    seen, said = Replies([soho]).all([BY_ABILITY["match"]], upload, 0.5, "a star")
    assert ("words.png: is not an image" in seen, said) == (True, "")
    answering = Named(name="vqa", model=vlp_fast.load("vqa_soho_small_world", device="cpu"))
    _, said = Replies([answering]).all([BY_ABILITY["answer"]], upload, 0.5, "is there a star?")
    assert "words.png: is not an image" in said


def test_memory_that_runs_out_is_one_line(
    soho: Named, drawing: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(soho.model, "codes", fail)
    message = "DefaultCPUAllocator: can't allocate memory"
    said = Replies([soho]).seen(drawing, 0.5)
    assert said.count("<p") == 1
    assert "not enough memory" in said
    message = "a fault of ours"
    with pytest.raises(RuntimeError, match=message):
        Replies([soho]).seen(drawing, 0.5)


def test_two_pictures_are_compared_in_their_order(small_drawings: Path) -> None:
    model = untrained(ReasoningConfig())
    first, second, *_ = (Upload(p, p.name) for p in sorted((small_drawings / "images").iterdir()))
    tool, replies = BY_ABILITY["compare"], Replies([Named(name="nlvr2", model=model)])
    sentence = "both images show a blue square"
    answer: Any = model.compare(first.path, second.path, sentence)
    seen, said = replies.all([tool], first, 0.5, sentence, second)
    assert seen == ""
    for name, share in answer.ranked:
        assert f"<th>{name}</th>" in said
        assert f"<td>{share:.2f}</td>" in said
    assert f'"said">{answer.text}<' in said
    assert "second picture" in replies.said(tool, first, sentence, None)


def test_hypotheses_are_judged(drawing: Upload) -> None:
    model = untrained(EntailmentConfig())
    answer: Any = model.entails(drawing.path, "it is true")
    said = Replies([Named(name="ve", model=model)]).said(
        BY_ABILITY["entails"], drawing, "it is true"
    )
    assert re.findall(r"<th>(\w+)</th>", said) == [name for name, _ in answer.ranked]
