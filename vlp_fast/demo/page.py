"""What stands where on the page, and what is asked when.

A new picture asks everything anew; a tool's button, or Enter in its field, asks that alone. One
request at a time is before the models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vlp_fast.demo.asking import TOOLS, Tool
from vlp_fast.demo.examples import WORDS, draw_examples
from vlp_fast.demo.models import Named, having
from vlp_fast.demo.offline import FOLDER
from vlp_fast.demo.offline import gradio as gr
from vlp_fast.demo.own_files import keep_to_own_files, own_upload_of
from vlp_fast.demo.replies import Replies
from vlp_fast.demo.seen import sees
from vlp_fast.demo.shown import text
from vlp_fast.inference.shipped import shipped_names

TITLE = "vlp_fast demo"
KNOWS = "The models of the package know drawings of one or two shapes, and no photograph."
KEPT = (3_600, 86_400)
"""Seconds: how often files are looked through, and how old those are that go."""
PRIVATE = {"api_visibility": "private"}
ASKING = {
    **PRIVATE,
    "concurrency_limit": 1,
    "concurrency_id": "models",
    "show_progress": "minimal",
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """A tool on the page, with gradio's components: what it reads, and where results go."""

    tool: Tool
    fields: list[Any]
    button: Any
    tries: Any
    result: Any


def build_page(models: Sequence[Named]) -> Any:
    """The page of some models, as `gradio.Blocks`."""
    drawings = draw_examples(Path(FOLDER.name))
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=KEPT) as page:
        gr.HTML(_head(models), elem_id="head", apply_default_css=False)
        with gr.Row(elem_id="top"):
            with gr.Column(scale=3, min_width=320, elem_id="given"):
                picture = _picture_field("Picture", drawings[0], "picture")
                _drawings(picture, drawings)
            seen, threshold = _seen_card(models)
            cards = [] if sees(models) else _cards(models, drawings[1])
        if sees(models):
            with gr.Row(elem_id="tools"):
                cards = _cards(models, drawings[1])
        _connect(page, Replies(models), [picture, threshold], seen, cards)
    keep_to_own_files(page)
    return page


def _connect(
    page: Any, replies: Replies, top: Sequence[Any], seen: Any, cards: Sequence[Card]
) -> None:
    """Say what is asked when something happens."""
    picture, threshold = top
    every = partial(replies.all, [card.tool for card in cards])
    inputs = [*top, *(field for card in cards for field in card.fields)]
    gr.on(
        [page.load, picture.change],
        every,
        inputs,
        [seen, *(card.result for card in cards)],
        **ASKING,
    )
    threshold.release(replies.seen, top, seen, **ASKING)
    for card in cards:
        said = partial(replies.said, card.tool)
        words, *others = card.fields
        events = [card.button.click, words.submit, *(other.change for other in others)]
        gr.on(events, said, [picture, *card.fields], card.result, **ASKING)
        card.tries.click(lambda sample: sample[0], card.tries, words, **PRIVATE).then(
            said, [picture, *card.fields], card.result, **ASKING
        )


def _head(models: Sequence[Named]) -> str:
    rows = "".join(
        f"<li><b>{text(one.name)}</b> {_origin(one)}: {text(', '.join(one.model.abilities))}</li>"
        for one in models
    )
    knows = f"<p>{KNOWS}</p>" if {one.name for one in models} & {*shipped_names()} else ""
    return f"<h1>{TITLE}</h1><ul>{rows}</ul>{knows}"


def _origin(one: Named) -> str:
    about = one.model.trained.about
    recipe = "" if about.recipe == one.name else f"{about.recipe} "
    return text(f"{recipe}after {about.step:,} steps")


def _picture_field(label: str, first: Path, name: str) -> Any:
    """A field for a picture, and a button that puts one there."""
    field = gr.Image(
        str(first),
        label=label,
        type="filepath",
        image_mode=None,
        sources=["upload"],
        buttons=["fullscreen"],
        height=320,
        elem_id=name,
        placeholder="Drop a picture here, or click to choose one",
    )
    button = gr.UploadButton("Upload a picture", file_types=["image"], elem_id=f"{name}-button")
    # Have the path of what is uploaded, and nothing decoded.
    field.preprocess = button.preprocess = own_upload_of
    field.postprocess = _shown
    button.upload(lambda upload: str(upload.path), button, field, **PRIVATE)
    return field


def _shown(path: str | None) -> Any:
    """A file for a browser as it is; gradio would read one of SVG first."""
    return path and gr.data_classes.ImageData(path=path, orig_name=Path(path).name)


def _drawings(picture: Any, paths: Sequence[Path]) -> None:
    """Pictures that a click puts into the field."""
    shown = gr.Dataset(
        components=["image"],
        samples=[[str(path)] for path in paths],
        type="index",
        label="Or try a drawing",
        elem_id="drawings",
    )
    shown.click(lambda index: str(paths[index]), shown, picture, **PRIVATE)


def _seen_card(models: Sequence[Named]) -> tuple[Any, Any]:
    """Where it is shown what models see, and the probability from which on objects are."""
    with gr.Column(scale=5, min_width=320, elem_classes="card", visible=sees(models)):
        _title("What the models see" if len(models) > 1 else "What the model sees")
        seen = _result("seen")
        threshold = gr.Slider(
            0,
            1,
            0.5,
            step=0.05,
            label="Objects from this probability on",
            elem_id="threshold",
            visible=bool(having(models, "detect")),
        )
    return seen, threshold


def _cards(models: Sequence[Named], drawing: Path) -> list[Card]:
    """A card for each tool that a model has learnt."""
    return [_card(tool, drawing) for tool in TOOLS if having(models, tool.ability)]


def _card(tool: Tool, drawing: Path) -> Card:
    with gr.Column(min_width=300, elem_classes="card"):
        _title(tool.title)
        second = [
            _picture_field("Right picture", drawing, "second") for _ in range(tool.pictures - 1)
        ]
        samples = WORDS[tool.ability]
        words = gr.Textbox(samples[0][1], label=tool.label, lines=tool.lines, elem_id=tool.ability)
        tries = gr.Dataset(
            components=[gr.Textbox(visible=False)],
            samples=[[words] for _, words in samples],
            sample_labels=[label for label, _ in samples],
            type="values",
            show_label=False,
            elem_id=f"{tool.ability}-tries",
            elem_classes="tries",
        )
        button = gr.Button(tool.button, variant="primary", elem_id=f"{tool.ability}-button")
        result = _result(f"{tool.ability}-result")
    return Card(tool=tool, fields=[words, *second], button=button, tries=tries, result=result)


def _title(words: str) -> None:
    gr.HTML(f"<h2>{text(words)}</h2>", apply_default_css=False)


def _result(name: str) -> Any:
    """Where HTML of results goes."""
    return gr.HTML(elem_id=name, elem_classes="result", apply_default_css=False)
