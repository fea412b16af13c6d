"""Files of answers: what servers and scripts take, refused before it is handed in."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from downstream_files import edit, statement, write_lines

from vlp_fast.data.answers import AnswerMap
from vlp_fast.data.sources.nlvr2 import read_statements
from vlp_fast.data.submissions.captions import check_captions, results_name, write_captions
from vlp_fast.data.submissions.nlvr2 import check_nlvr2, write_nlvr2
from vlp_fast.data.submissions.snli_ve import check_snli_ve, write_snli_ve
from vlp_fast.data.submissions.vqa import check_vqa, write_vqa
from vlp_fast.errors import InputError

QUESTIONS = [5, 3, 2**40]
STATEMENTS = ["dev-1-0-0", "dev-1-1-0", "dev-2-0-1"]
PAIRS = ["1.jpg#0r1", "1.jpg#0r2", "\u00e9,\u2028"]
VQA: dict[int, str] = {2**40: "", 3: "caf\u00e9", 5: "yes"}
NLVR2: dict[str, bool] = dict(zip(reversed(STATEMENTS), (True, False, True), strict=True))
SNLI: dict[str, str] = dict(zip(PAIRS, ("neutral", "entailment", "contradiction"), strict=True))

CAPTIONS: dict[int, str] = {2**40: "a dog", 3: "un caf\u00e9.", 5: ""}

Case = tuple[Callable[..., None], Callable[..., Any], dict[Any, Any], list[Any]]
CASES: dict[str, Case] = {
    "vqa": (
        partial(write_vqa, split="test", question_ids=QUESTIONS),
        partial(check_vqa, split="test", question_ids=QUESTIONS),
        VQA,
        QUESTIONS,
    ),
    "nlvr2": (
        partial(write_nlvr2, split="dev", identifiers=STATEMENTS),
        partial(check_nlvr2, split="dev", identifiers=STATEMENTS),
        NLVR2,
        STATEMENTS,
    ),
    "snli_ve": (
        partial(write_snli_ve, split="test", pair_ids=PAIRS),
        partial(check_snli_ve, split="test", pair_ids=PAIRS),
        SNLI,
        PAIRS,
    ),
    "captions": (
        partial(write_captions, split="test", image_ids=QUESTIONS),
        partial(check_captions, split="test", image_ids=QUESTIONS),
        CAPTIONS,
        QUESTIONS,
    ),
}
LISTS = {"vqa": ("question_id", "answer"), "captions": ("image_id", "caption")}
TASKS = pytest.mark.parametrize("task", CASES)


def official_nlvr2(predictions: Path, examples: Iterable[dict[str, Any]]) -> tuple[float, float]:
    """The rules of the official script, written anew: accuracy and consistency."""
    found = {}
    for line in predictions.open():
        cells = line.strip().split(",")
        found[cells[0]] = cells[1]  # a blank line has no such cell
    right = {
        e["identifier"]: found[e["identifier"]].lower() == e["label"].lower() for e in examples
    }
    groups: dict[tuple[str, str], list[bool]] = {}
    for identifier, is_right in right.items():
        _, image_set, _, sentence = identifier.split("-")
        groups.setdefault((image_set, sentence), []).append(is_right)
    whole = [all(group) for group in groups.values()]
    return sum(right.values()) / len(right), sum(whole) / len(whole)


@TASKS
def test_what_is_written_is_read_back_in_the_splits_order(tmp_path: Path, task: str) -> None:
    write, check, answers, keys = CASES[task]
    write(tmp_path / "out", answers.items())
    found = check(tmp_path / "out")
    assert found == answers
    assert list(found) == keys
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@TASKS
@pytest.mark.parametrize("fault", ["missing", "foreign", "twice"])
def test_ids_are_those_of_the_split(tmp_path: Path, task: str, fault: str) -> None:
    write, check, answers, _ = CASES[task]
    rows = list(answers.items())
    foreign = (7, "x") if task in LISTS else ("dev-9-9-9", rows[0][1])
    wrong, expected = {
        "missing": (rows[:-1], f"lacks 1 of 3 answers to .*, the first to {rows[-1][0]!r}"),
        "foreign": ([*rows, foreign], f"answers {foreign[0]!r}, which is not in "),
        "twice": ([*rows, rows[0]], f"answers {rows[0][0]!r} twice"),
    }[fault]
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(InputError, match=expected.replace("\\u", "\\\\*u")):
        write(path, iter(wrong))
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
    # The same faults in files of other programs.
    if task in LISTS:
        path.write_text(json.dumps([dict(zip(LISTS[task], row, strict=True)) for row in wrong]))
    elif task == "nlvr2":
        path.write_text("".join(f"{k},{a}\n" for k, a in wrong))
    else:
        write_lines(path, ({"pairID": k, "label": a} for k, a in wrong))
    with pytest.raises(InputError, match=expected.replace("\\u", "\\\\*u")):
        check(path)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (
            partial(write_vqa, question_ids=QUESTIONS, split="test-dev"),
            "scores test-dev from answers to all questions of test",
        ),
        (partial(write_vqa, question_ids=QUESTIONS, split="val"), "'val' of VQA .* predict test"),
        (partial(write_nlvr2, identifiers=STATEMENTS, split="train"), "'train' of NLVR2"),
        (
            partial(write_nlvr2, identifiers=STATEMENTS, split="val"),
            "predict dev or test1 or test2",
        ),
        (
            partial(write_captions, image_ids=QUESTIONS, split="train2014"),
            "'train2014' of COCO captions .* predict val2014 or test2014 or",
        ),
        (partial(write_snli_ve, pair_ids=PAIRS, split="train"), "SNLI-VE .* predict dev or test"),
    ],
)
def test_other_splits_are_refused(
    tmp_path: Path, write: Callable[..., None], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        write(tmp_path / "out", [])
    assert not list(tmp_path.iterdir())


def test_what_the_vqa_server_gets(tmp_path: Path) -> None:
    answers = AnswerMap(("", "yes", "caf\u00e9"))
    path = tmp_path / "out.json"
    write_vqa(
        path,
        zip(QUESTIONS, (answers.names[label] for label in (1, 2, 0)), strict=True),
        split="test",
        question_ids=QUESTIONS,
    )
    assert json.loads(path.read_bytes()) == [
        {"question_id": 5, "answer": "yes"},
        {"question_id": 3, "answer": "caf\u00e9"},
        {"question_id": 2**40, "answer": ""},
    ]


def test_what_the_caption_server_gets(tmp_path: Path) -> None:
    path = tmp_path / results_name("val2014", "soho")
    assert path.name == "captions_val2014_soho_results.json"
    texts = {3: " a \u2028 man\r\n's dog. ", 5: "", 2**40: "caf\u00e9"}
    write_captions(path, texts.items(), split="val2014", image_ids=QUESTIONS)
    assert json.loads(path.read_bytes()) == [
        {"image_id": 5, "caption": ""},
        {"image_id": 3, "caption": "a man 's dog."},
        {"image_id": 2**40, "caption": "caf\u00e9"},
    ]


@pytest.mark.parametrize(
    "name", ["out.json", "captions_test2014_a_results.json", "captions_val2014__results.json"]
)
def test_the_caption_server_takes_files_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for use in (check_captions, partial(write_captions, captions=CAPTIONS.items())):
        with pytest.raises(InputError, match=r"call the file captions_val2014_NAME_results\.json"):
            use(path, split="val2014", image_ids=QUESTIONS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mark", ["\r", "\v", "\f", "\u2028", "\u2029"])
def test_captions_that_official_code_takes_for_two(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "out"
    rows = [{"image_id": key, "caption": f"a{mark}b"} for key in QUESTIONS]
    path.write_text(json.dumps(rows))
    with pytest.raises(InputError, match=r"the caption of image 5 holds a line break \('a\\") as e:
        CASES["captions"][1](path)
    assert str(e.value).isprintable()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[0].pop("answer"), "'answer' is missing"),
        (lambda rows: rows[0].update(answer=3), "'answer' is 3, expected str"),
        (lambda rows: rows[0].update(question_id=None), "'question_id' is null"),
        (lambda rows: rows.append(5), "entry 3 of the list is 5, not an object"),
    ],
)
def test_damaged_answers_to_vqa(
    tmp_path: Path, change: Callable[[Any], None], expected: str
) -> None:
    write, check, answers, _ = CASES["vqa"]
    write(tmp_path / "out", answers.items())
    edit(tmp_path / "out", change)
    with pytest.raises(InputError, match=expected):
        check(tmp_path / "out")


def test_the_official_script_reads_answers_to_nlvr2(tmp_path: Path) -> None:
    labels = {"dev-1-0-0": "True", "dev-1-1-0": "True", "dev-2-0-1": "True"}
    write_lines(tmp_path / "dev.json", (statement(key, label) for key, label in labels.items()))
    examples = read_statements(tmp_path, "dev")
    keys = [example.key for example in examples]
    path = tmp_path / "out.csv"
    write_nlvr2(path, NLVR2.items(), split="dev", identifiers=[str(key) for key in keys])
    assert path.read_bytes() == b"dev-1-0-0,True\ndev-1-1-0,False\ndev-2-0-1,True\n"
    rows = [statement(key, label) for key, label in labels.items()]
    assert official_nlvr2(path, rows) == (2 / 3, 1 / 2)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("dev-1-0-0,True\ndev-1-1-0,False\ndev-2-0-1,True\n\n", "line 4: is ''"),
        ("identifier,prediction\n", "line 1: is 'identifier,prediction'"),
        ("dev-1-0-0,true\n", "line 1: is 'dev-1-0-0,true', expected 'identifier,True'"),
        ("dev-1-0-0\n", "line 1: is 'dev-1-0-0'"),
        ("dev-1-0-0,True,0.9\n", "line 1: is 'dev-1-0-0,True,0.9'"),
        ("", "line 1: is ''"),
    ],
)
def test_damaged_answers_to_nlvr2(tmp_path: Path, lines: str, expected: str) -> None:
    path = tmp_path / "out.csv"
    path.write_text(lines)
    with pytest.raises(InputError, match=expected):
        CASES["nlvr2"][1](path)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not text"):
        CASES["nlvr2"][1](path)
    with pytest.raises(InputError, match="No such file"):
        CASES["nlvr2"][1](tmp_path / "none")


def test_lines_of_windows_are_answers_too(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(b"dev-1-0-0,True\r\ndev-1-1-0,False\r\ndev-2-0-1,True\r\n")
    assert CASES["nlvr2"][1](path) == NLVR2


def test_labels_of_snli_ve_are_names(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"line 1: 'label' is \"maybe\", expected entailment, neut"
    ):
        CASES["snli_ve"][0](tmp_path / "out", {**SNLI, PAIRS[0]: "maybe"}.items())
    assert not list(tmp_path.iterdir())


@TASKS
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, _, answers, _ = CASES[task]
    path = tmp_path / "out"
    path.write_text("old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write(path, answers.items())
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
