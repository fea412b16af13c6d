"""SPICE 1.0 by its own Java program, as the official evaluation of COCO captions calls it.

Source: Anderson et al., "SPICE: Semantic Propositional Image Caption Evaluation" (2016).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vlp_fast.errors import InputError
from vlp_fast.metrics.caption.corpus import Corpus, Judged
from vlp_fast.metrics.caption.java_program import PACKAGE, failed, find_jars, find_java

JAR = "spice/spice-1.0.jar"
_MODELS = ("spice/lib/stanford-corenlp-3.6.0.jar", "spice/lib/stanford-corenlp-3.6.0-models.jar")


class Spice:
    """Judges captions by SPICE; what it needs is looked for at once.

    Args:
        folder: of the package pycocoevalcap; where it is installed if not given.
        java: name or path of the Java executable.
        memory: that Java may take, as its -Xmx has it.

    Raises:
        InputError: if Java, SPICE, or the parser that SPICE reads captions with is not there, with
            what to install.
    """

    def __init__(
        self, folder: Path | None = None, *, java: str = "java", memory: str = "8G"
    ) -> None:
        found = find_jars(folder, "SPICE", JAR)
        self._jar, self._memory = found / JAR, memory
        self._java = find_java(java, "SPICE")
        missing = [name for name in _MODELS if not (found / name).is_file()]
        if missing:
            raise InputError(
                f"{found}: has no {missing[0]}, which SPICE needs and {PACKAGE} downloads when it "
                f"is used first; run `python -c 'from {PACKAGE}.spice.spice import Spice; "
                "Spice()'`, or leave SPICE out"
            )

    def __call__(self, corpus: Corpus) -> Judged:
        """Compare captions with their references.

        Returns:
            F of scene graphs in [0, 1] of each image, and their mean.

        Raises:
            InputError: if Java fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            asked, answered = Path(folder, "captions.json"), Path(folder, "values.json")
            asked.write_text(json.dumps(_entries(corpus)), encoding="utf-8")
            command = [self._java, "-Dfile.encoding=UTF-8", f"-Xmx{self._memory}", "-jar"]
            command += [str(self._jar), str(asked), "-out", str(answered), "-subset", "-silent"]
            done = subprocess.run(command, capture_output=True, check=False, cwd=folder)
            try:
                return _judged(json.loads(answered.read_bytes()), len(corpus))
            except (OSError, ValueError, KeyError, TypeError):
                raise failed("SPICE", done.stderr) from None


def _entries(corpus: Corpus) -> list[dict[str, Any]]:
    pairs = zip(corpus.candidates, corpus.references, strict=True)
    return [
        {"image_id": number, "test": caption, "refs": references}
        for number, (caption, references) in enumerate(pairs)
    ]


def _judged(answers: list[dict[str, Any]], count: int) -> Judged:
    by_number = {answer["image_id"]: answer["scores"]["All"]["f"] for answer in answers}
    images = np.array([float(by_number[number]) for number in range(count)])
    return Judged(float(images.mean()), images)
