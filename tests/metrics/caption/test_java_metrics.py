"""METEOR and SPICE by a stand-in for Java, and by the real one where it is installed."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_fast.errors import InputError
from vlp_fast.metrics.caption.caption_score import CaptionScore
from vlp_fast.metrics.caption.corpus import Corpus
from vlp_fast.metrics.caption.meteor import Meteor
from vlp_fast.metrics.caption.spice import Spice

CORPUS = Corpus(["a man rides", "caf\u00e9 | dogs", ""], [["a man", "he rides"], ["dogs"], ["a"]])
FILES = (
    "meteor/meteor-1.5.jar",
    "meteor/data/paraphrase-en.gz",
    "spice/spice-1.0.jar",
    "spice/lib/stanford-corenlp-3.6.0.jar",
    "spice/lib/stanford-corenlp-3.6.0-models.jar",
)
# Counts are the words of the caption; values a hundredth of that; the corpus's is their sum.
METEOR = """
import sys
assert sys.argv[-6:] == ["-", "-", "-stdio", "-l", "en", "-norm"], sys.argv
assert sys.argv[sys.argv.index("-jar") + 1].endswith("meteor/meteor-1.5.jar")
sys.stdin.reconfigure(encoding="utf-8")
for line in sys.stdin:
    kind, *parts = line.rstrip("\\n").split(" ||| ")
    if kind == "SCORE":
        print(len(parts[-1].split()) + 10 * (len(parts) - 1), flush=True)
    else:
        assert kind == "EVAL"
        print(*(int(p) / 100 for p in parts), sum(map(int, parts)) / 100, sep="\\n", flush=True)
"""
SPICE = """
import json, sys
asked = json.load(open(sys.argv[sys.argv.index("-jar") + 2]))
f = lambda e: len(e["test"].split()) / 10 + len(e["refs"]) / 100
found = [{"image_id": e["image_id"], "scores": {"All": {"f": f(e)}}} for e in reversed(asked)]
json.dump(found, open(sys.argv[sys.argv.index("-out") + 1], "w"))
"""


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "jars" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "jars"


@pytest.fixture
def java(tmp_path: Path) -> Callable[[str], str]:
    """An executable that runs a program of Python's."""

    def make(program: str) -> str:
        path = tmp_path / "java"
        path.write_text(f"#!{sys.executable}\n{program}")
        path.chmod(0o755)
        return str(path)

    return make


def test_meteor_asks_for_each_image_and_for_all(jars: Path, java: Callable[[str], str]) -> None:
    found = Meteor(jars, java=java(METEOR))(CORPUS)
    np.testing.assert_array_equal(found.images, [0.23, 0.13, 0.1])
    assert found.corpus == 0.46


def test_spice_is_put_in_the_order_of_the_captions(jars: Path, java: Callable[[str], str]) -> None:
    found = Spice(jars, java=java(SPICE))(CORPUS)
    np.testing.assert_allclose(found.images, [0.32, 0.31, 0.01])
    assert found.corpus == pytest.approx(0.64 / 3)


def test_both_beside_the_other_figures(jars: Path, java: Callable[[str], str]) -> None:
    score = CaptionScore("toy", [1], more={"meteor": Meteor(jars, java=java(METEOR))})
    score.add(1, "A man's dog.", ["A dog!"])
    assert score.figures()["meteor"] == pytest.approx(14)  # "a man 's dog", one reference


def test_what_is_sent_is_one_line_a_caption(jars: Path, java: Callable[[str], str]) -> None:
    broken = Corpus(["a ||| b\n c"], [["d\r\ne ||| f"]])
    assert Meteor(jars, java=java(METEOR))(broken).images == [0.13]


@pytest.mark.parametrize("metric", [Meteor, Spice])
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('Exception in thread: out of memory')", "Exception in thread"),
        (
            "import sys; print('note', file=sys.stderr); sys.exit('java.lang.Error: x')",
            "lang.Error",
        ),
        ("", "it said nothing"),
        ("print('Usage: java')", "it said nothing"),
        ("import os, sys; sys.stdin.readline(); os._exit(3)", "it said nothing"),
    ],
)
def test_java_that_fails_is_told_in_a_line(
    jars: Path, java: Callable[[str], str], metric: Any, program: str, said: str
) -> None:
    judge = metric(jars, java=java(program))
    many = Corpus(["a man"] * 3000, [["a man"]] * 3000)  # more than a pipe holds
    with pytest.raises(InputError, match=rf"^{metric.__name__.upper()}: Java .*{said}.*leave") as e:
        judge(many)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("answer", ["nonsense", '[{"image_id": 0}]', "[]"])
def test_answers_of_spice_that_are_none(
    jars: Path, java: Callable[[str], str], answer: str
) -> None:
    program = f"import sys; open(sys.argv[sys.argv.index('-out') + 1], 'w').write({answer!r})"
    with pytest.raises(InputError, match="SPICE: Java ended without an answer"):
        Spice(jars, java=java(program))(CORPUS)


def test_what_is_not_there_is_named(
    jars: Path, java: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"METEOR is a Java program and nojava is not there"):
        Meteor(jars, java="nojava")
    (jars / FILES[-1]).unlink()
    with pytest.raises(
        InputError, match=r"no spice/lib/.*-models.jar, which SPICE needs .*Spice\("
    ):
        Spice(jars, java=java(SPICE))
    (jars / FILES[0]).unlink()
    with pytest.raises(InputError, match=r"has no meteor/meteor-1.5.jar, which METEOR needs"):
        Meteor(jars, java=java(METEOR))
    monkeypatch.setattr("vlp_fast.metrics.caption.java_program.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed; run `pip install pycocoevalcap`"):
        Meteor(java=java(METEOR))


def test_the_installed_package_is_found(
    jars: Path, java: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jars.rename(jars.with_name("pycocoevalcap"))
    monkeypatch.syspath_prepend(jars.parent)
    assert Meteor(java=java(METEOR))(CORPUS).corpus == 0.46


@pytest.mark.exhaustive
def test_the_real_meteor(shared_data: Path) -> None:
    if find_spec("pycocoevalcap") is None or shutil.which("java") is None:
        pytest.skip("needs Java and the package pycocoevalcap")
    oracle = json.loads((shared_data / "metrics/caption_fakecap_x_val2017.json").read_bytes())
    ids = [str(image_id) for image_id in oracle["image_ids"]]
    tokens = Corpus(
        [oracle["res_tokenized"][i][0] for i in ids], [oracle["gts_tokenized"][i] for i in ids]
    )
    found = Meteor()(tokens)
    assert found.corpus == oracle["scores"]["METEOR"]
    np.testing.assert_array_equal(found.images, oracle["per_image"]["METEOR"])
