"""Every Python snippet of every page runs: here, or in the test that is named."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import PAGES, ROOT, blocks, execute

from vlp_fast.cli import main
from vlp_fast.inference.shipped import shipped_model

# (page, how a snippet begins) -> the test that runs it and looks at what it makes.
ELSEWHERE = {
    ("README.md", "import torch\n\nimport vlp_fast\nfrom"): "test_layers_snippet",
    ("README.md", "from dataclasses import replace"): "test_training_snippet",
    ("README.md", "import vlp_fast\n\nmodel = vlp_fast.load"): "test_predicting_snippet",
    ("layers.md", "import transformers\n"): "test_accelerate_snippet",
    ("layers.md", "from transformers import"): "test_transformers_snippet",
    ("layers.md", "import torch\nfrom torch import"): "test_transformers_attention_snippet",
    ("layers.md", "import torch\nfrom rfdetr"): "test_losses_of_all_layers_at_once",
    ("layers.md", "from itertools import"): "test_their_loss_with_our_matcher",
    ("layers.md", "import vlp_fast  # was"): "test_vector_quantize_snippet",
    ("benchmarks.md", "import torch\n"): "test_benchmark_snippet",
    ("downstream.md", "from vlp_fast.metrics.caption"): "test_the_snippet_of_the_docs",
    ("your_own_task.md", '"""counting.py'): "test_the_page_is_true",
    ("your_own_task.md", "def figures("): "test_the_page_is_true",
    ("your_own_operator.md", '"""'): "test_the_operator_of_the_page",
}
# The same -> why no test runs it.
NOT_RUN: dict[tuple[str, str], str] = {}

SNIPPETS = [(page, snippet) for page, text in PAGES.items() for snippet in blocks(text, "python")]


def listed(page: str, snippet: str) -> list[tuple[str, str]]:
    """Entries of the two tables that a snippet has."""
    return [
        entry
        for entry in (*ELSEWHERE, *NOT_RUN)
        if entry[0] == page and snippet.startswith(entry[1])
    ]


HERE = [page for page in PAGES if any(p == page and not listed(p, s) for p, s in SNIPPETS)]


@pytest.mark.parametrize("page", HERE)
def test_snippets_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One behind another, as a person would type them."""
    monkeypatch.chdir(tmp_path)
    names = given_to_predict() if page == "predict.md" else {}
    for _, snippet in (entry for entry in SNIPPETS if entry[0] == page):
        if not listed(page, snippet):
            execute(snippet, names)


def given_to_predict() -> dict[str, Any]:
    """What the page speaks of: a run of questions, a model that was handed on, a picture."""
    shutil.copytree(shipped_model("vqa_soho_small_world"), "runs/vqa")
    words = ("soho_small_world", "handed-on", "--program", "64", "64", "--tokens", "4")
    assert main(["export", *words]) == 0
    images = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
    return {"images": images, "text_ids": torch.tensor([2, 5, 6, 3])}


def test_every_snippet_is_run_once() -> None:
    assert all(len(listed(*entry)) <= 1 for entry in SNIPPETS)
    named = {entry for snippet in SNIPPETS for entry in listed(*snippet)}
    assert named == {*ELSEWHERE, *NOT_RUN}, "entries whose snippets are gone"
    written = "\n".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    for name in set(ELSEWHERE.values()):
        assert re.search(rf"^def {name}\(", written, re.M), name
    assert all(NOT_RUN.values())
    assert len(NOT_RUN) < 4, "a page is tested or it is not documentation"
