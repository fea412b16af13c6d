"""METEOR 1.5 by its own Java program, as the official evaluation of COCO captions calls it.

Other packages' METEOR is another metric: the program has tables of paraphrases and tuned weights.

Source: Denkowski and Lavie, "Meteor Universal: Language Specific Translation Evaluation" (2014).
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from vlp_fast.metrics.caption.corpus import Corpus, Judged
from vlp_fast.metrics.caption.java_program import failed, find_jars, find_java

JAR = "meteor/meteor-1.5.jar"
_PARAPHRASES = "meteor/data/paraphrase-en.gz"
_OPTIONS = ("-", "-", "-stdio", "-l", "en", "-norm")
_BAR = "|||"


class Meteor:
    """Judges captions by METEOR; what it needs is looked for at once.

    Args:
        folder: of the package pycocoevalcap; where it is installed if not given.
        java: name or path of the Java executable.

    Raises:
        InputError: if Java or METEOR is not there, with what to install.
    """

    def __init__(self, folder: Path | None = None, *, java: str = "java") -> None:
        self._jar = find_jars(folder, "METEOR", JAR, _PARAPHRASES) / JAR
        self._java = find_java(java, "METEOR")

    def __call__(self, corpus: Corpus) -> Judged:
        """Compare captions with their references.

        Returns:
            Values in [0, 1] of each image, and of the corpus, for which counts are added up.

        Raises:
            InputError: if Java fails.
        """
        command = [self._java, "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", str(self._jar), *_OPTIONS]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                bufsize=1,
            )
            try:
                assert process.stdin is not None and process.stdout is not None
                return _talk(process.stdin, process.stdout, corpus)
            except (OSError, ValueError):
                _end(process)
                errors.seek(0)
                raise failed("METEOR", errors.read()) from None
            finally:
                _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End it if it has not, and close its pipes, whatever was not read or written."""
    if process.stdin is not None and not process.stdin.closed:
        process.kill()
        process.communicate()


def _talk(ask: IO[str], answer: IO[str], corpus: Corpus) -> Judged:
    """Counts of each image, asked for one by one; then the values of all of them."""
    counts = []
    for caption, references in zip(corpus.candidates, corpus.references, strict=True):
        ask.write(_line("SCORE", *references, caption))
        counts.append(_answer(answer))
    ask.write(_line("EVAL", *counts))
    images = np.array([float(_answer(answer)) for _ in counts])
    return Judged(float(_answer(answer)), images)


def _line(*parts: str) -> str:
    texts: Sequence[str] = [" ".join(part.replace(_BAR, " ").split()) for part in parts]
    return f" {_BAR} ".join(texts) + "\n"


def _answer(answer: IO[str]) -> str:
    line = answer.readline().strip()
    if not line:
        raise ValueError("no answer")
    return line
