"""A model's card: what it learnt, from what, how well, and how it is used."""

from __future__ import annotations

from pathlib import Path

from vlp_fast import __version__
from vlp_fast.engine.progress import read_journal
from vlp_fast.errors import InputError
from vlp_fast.inference.trained import Trained

SYSTEMS = {
    "Soho": ("SOHO", "Huang et al., CVPR 2021"),
    "E2EVLP": ("E2E-VLP", "Xu et al., ACL 2021"),
}
CALLS = {
    "detect": 'model.detect("photo.jpg")',
    "caption": 'model.caption("photo.jpg")',
    "answer": 'model.answer("photo.jpg", "how many objects are there?").text',
    "match": 'model.match("photo.jpg", "a red circle")',
    "compare": 'model.compare("left.jpg", "right.jpg", "both images show a circle.").text',
    "entails": 'model.entails("photo.jpg", "there is a circle.").text',
    "fill": 'model.fill("photo.jpg", "a [MASK] circle").text',
    "codes": 'model.codes("photo.jpg")',
}
UNSAID = {
    "licence": "not stated; weights may be bound by the licence of the pictures and texts",
    "use": "research; not tested for anything that people depend on",
}


def card_of(trained: Trained, run_dir: Path, format: str, notes: dict[str, str]) -> str:
    """The card as Markdown.

    Args:
        trained: the model.
        run_dir: of the run, whose metrics.jsonl has its figures.
        format: of the weights on disk.
        notes: see `exported.export`.
    """
    about = trained.about
    system, paper = SYSTEMS[type(trained.model).__name__]
    parameters = sum(p.numel() for p in trained.model.parameters())
    said = UNSAID | notes
    calls = "\n".join(f"{CALLS[ability]}" for ability in about.task.abilities if ability in CALLS)
    return f"""---
library_name: vlp_fast
tags: [vision-language]
---

# {about.recipe}

{system} ({paper}) by vlp_fast {__version__}: recipe `{about.recipe}`, {about.step:,} steps,
{parameters / 1e6:.2f} M parameters and its head, weights in {format}.

```python
import vlp_fast

model = vlp_fast.load("path/of/this/folder")
{calls}
```

| | |
| --- | --- |
| data | {_data(trained)} |
| licence of the data | {said["licence"]} |
| intended use | {said["use"]} |

## Held-out figures

{_figures(run_dir)}
"""


def _data(trained: Trained) -> str:
    """What is known of the data; names of folders without the path to them."""
    data = trained.about.data
    if not data.root:
        return "not recorded"
    return ", ".join(f"`{root.name}`" for root in data.root) + f", split {data.train_split}"


def _figures(run_dir: Path) -> str:
    """The last held-out line of the run as a table."""
    try:
        rows = [row for row in read_journal(run_dir / "metrics.jsonl") if row["kind"] == "held_out"]
    except (InputError, OSError, KeyError):
        rows = []
    if not rows:
        return "None were recorded."
    last = rows[-1]
    numbers = {n: v for n, v in last.items() if isinstance(v, int | float) and n != "step"}
    lines = "\n".join(f"| {name} | {value:.4g} |" for name, value in numbers.items())
    return f"Step {last['step']:,}, {last.get('of', 'held out')}.\n\n| | |\n| --- | --- |\n{lines}"
