"""Small data sets of the downstream tasks on disk, in their official layouts."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
WriteImage = Callable[..., Path]
QUESTIONS = "v2_OpenEnded_mscoco_{}_questions.json"
ANNOTATIONS = "v2_mscoco_{}_annotations.json"


def write_lines(path: Path, entries: Iterable[Entry]) -> Path:
    """An object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def question(number: int, image_id: int) -> Entry:
    """A question as it is published."""
    return {
        "image_id": image_id,
        "question": f" What is  in\npicture {image_id}? ",
        "question_id": number,
    }


def annotation(number: int, image_id: int, answers: list[str] | None = None) -> Entry:
    """Its annotation: seven say yes."""
    answers = answers or ["yes"] * 7 + ["no", "No.", "a dog"]
    return {
        "question_id": number,
        "image_id": image_id,
        "question_type": "what is",
        "answer_type": "yes/no",
        "multiple_choice_answer": answers[0],
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": i}
            for i, answer in enumerate(answers, 1)
        ],
    }


def write_vqa_part(
    root: Path, part: str, image_ids: Iterable[int], write_image: WriteImage, *, answered: bool
) -> None:
    """Two questions about each image; part is such as val2014."""
    pairs = [(1000 * image_id + k, image_id) for image_id in image_ids for k in range(2)]
    root.mkdir(parents=True, exist_ok=True)
    document = {"info": {}, "questions": [question(*pair) for pair in pairs]}
    (root / QUESTIONS.format(part)).write_text(json.dumps(document))
    if answered:
        document = {"info": {}, "annotations": [annotation(*pair) for pair in reversed(pairs)]}
        (root / ANNOTATIONS.format(part)).write_text(json.dumps(document))
    for _, image_id in pairs[::2]:
        folder = part.replace("test-dev", "test")
        write_image(root / folder / f"COCO_{folder}_{image_id:012d}.jpg")


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change a document in place."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def edit_lines(path: Path, change: Callable[[list[Entry]], None]) -> None:
    """Change the objects of a file of JSON lines."""
    entries = [json.loads(line) for line in path.read_text().split("\n") if line]
    change(entries)
    write_lines(path, entries)


def statement(identifier: str, label: str = "True", **more: Any) -> Entry:
    """A line of NLVR2."""
    return {
        "identifier": identifier,
        "sentence": f"The left image  shows {identifier}.",
        "label": label,
        "left_url": "http://a",
        "right_url": "http://b",
        **more,
    }


def hypothesis(pair: str, image: str, label: str = "neutral", **more: Any) -> Entry:
    """A line of SNLI-VE as it is generated today."""
    return {
        "Flickr30K_ID": image,
        "annotator_labels": [label],
        "captionID": f"{image}.jpg#0",
        "gold_label": label,
        "pairID": pair,
        "sentence1": f"A caption of {image}.",
        "sentence2": f" A  hypothesis about {image}.",
        **more,
    }
