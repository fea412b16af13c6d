"""A folder of another data set says whose it is, and which recipes take it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from downstream_files import QUESTIONS, hypothesis, question, statement, write_lines

from vlp_fast.data.sources import load_dataset
from vlp_fast.data.sources.nlvr2 import read_statements
from vlp_fast.data.sources.snli_ve import read_hypotheses
from vlp_fast.data.sources.vqa import read_questions
from vlp_fast.data.sources.whose import refuse_foreign
from vlp_fast.errors import InputError


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


LXMERT = [{"question_id": 1, "img_id": "COCO_val2014_000000000001", "sent": "What?"}]
FOLDERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "vqa": (
        lambda r: write_json(r / QUESTIONS.format("val2014"), {"questions": [question(1, 1)]}),
        "questions of VQA",
        "vqa_*",
    ),
    "lxmert": (lambda r: write_json(r / "train.json", LXMERT), "questions of VQA", "vqa_*"),
    "nlvr2": (
        lambda r: write_lines(r / "train.json", [statement("train-1-0-0")]),
        "statements of NLVR2",
        "nlvr2_*",
    ),
    "repository": (
        lambda r: write_lines(r / "nlvr2/data/dev.json", [statement("dev-1-0-0")]),
        "statements of NLVR2",
        "nlvr2_*",
    ),
    "ve": (
        lambda r: write_lines(r / "snli_ve_train.jsonl", [hypothesis("a", "1")]),
        "hypotheses of SNLI-VE",
        "ve_*",
    ),
    "coco": (
        lambda r: write_json(r / "annotations/captions_train2017.json", {}),
        "COCO's pictures",
        "soho_*, e2e_vlp_* and detection_*",
    ),
    "genome": (
        lambda r: write_json(r / "image_data.json", []),
        "Visual Genome's pictures",
        "soho_*, e2e_vlp_* and detection_*",
    ),
}
READERS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "VQA": (lambda root: read_questions(root, "train"), {"vqa", "lxmert"}),
    "NLVR2": (lambda root: read_statements(root, "train"), {"nlvr2", "repository"}),
    "SNLI-VE": (lambda root: read_hypotheses(root, "train"), {"ve"}),
}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", READERS)
def test_the_folder_of_another_task_says_which_recipes_take_it(
    tmp_path: Path, name: str, folder: str
) -> None:
    read, own = READERS[name]
    make, holds, recipes = FOLDERS[folder]
    make(tmp_path)
    if folder in own:
        refuse_foreign(tmp_path, name)
        return
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    named = (f"{tmp_path}: has no ", f"which recipes {recipes} take", f"the folder of {name} with")
    assert all(part in str(caught.value) for part in (*named, holds))


@pytest.mark.parametrize("folder", ["vqa", "nlvr2", "ve"])
def test_pre_training_says_so_too(tmp_path: Path, folder: str) -> None:
    make, holds, recipes = FOLDERS[folder]
    make(tmp_path)
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path, "train")
    assert f"it holds {holds}, which recipes {recipes} take" in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_an_empty_folder_names_what_was_looked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        READERS[name][0](tmp_path)
    assert "looked there and in annotations/ for " in str(caught.value)
    assert "it holds" not in str(caught.value)


def test_a_damaged_file_of_the_right_name_is_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("")
    with pytest.raises(InputError, match=r"train\.json: is empty"):
        read_statements(tmp_path, "train")


def test_statements_beside_questions_are_not_read_as_questions(tmp_path: Path) -> None:
    for name in ("vqa", "nlvr2"):
        FOLDERS[name][0](tmp_path)
    with pytest.raises(InputError, match=r"v2_OpenEnded_mscoco_train2014.*No such file"):
        read_questions(tmp_path, "train")
