"""Rows of scores on disk: damaged ones are computed again; what scores depend on, by name."""

import io
from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranked_tasks import ranking_task
from rebuilt import with_settings
from sample_tasks import Build, Cpu

from vlp_fast.tasks.retrieval.kept_scores import KeptScores
from vlp_fast.tasks.retrieval.provenance import digest_of_weights, scores_depend_on
from vlp_fast.tasks.retrieval.texts import Texts

ROWS = np.array([[1, 2, 3], [4, 5, -np.inf]], np.float32)


def array(rows: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """A file of numpy's, whose header may say another shape."""
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(rows)
    np.lib.format.write_array_header_1_0(file, header | ({"shape": shape} if shape else {}))
    return file.getvalue() + rows.tobytes()


def archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, ROWS)
    return file.getvalue()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        archive(),
        archive()[:50],
        array(ROWS)[:-1],
        array(ROWS, (10**13,)),  # 36 TiB
        array(ROWS, (10**30, 3)),
        array(ROWS, (-2, 3)),
        array(ROWS.T.copy()),
        array(ROWS.astype(np.float64)),
        array(np.full_like(ROWS, np.nan)),
        b"\x93NUMPY\x01\x00" + (60_000).to_bytes(2, "little") + b"(" * 60_000,
    ],
)
def test_what_is_no_file_of_these_rows_is_computed_again(tmp_path: Path, damaged: bytes) -> None:
    kept = KeptScores(tmp_path / "kept", {"model": "x"})
    kept.open()
    assert np.array_equal(kept.get(3, ROWS.shape, lambda: ROWS), ROWS)
    (path,) = (tmp_path / "kept").glob("rows-*.npy")
    path.write_bytes(damaged)
    assert np.array_equal(kept.get(3, ROWS.shape, lambda: 2 * ROWS), 2 * ROWS)
    again = kept.get(3, ROWS.shape, lambda: pytest.fail("it is kept"))
    assert np.array_equal(again, 2 * ROWS)


def test_all_that_scores_are_made_from_is_named(build: Build, tmp_path: Path) -> None:
    """A thing of these that is another one changes what is said of it, and nothing else."""
    task = ranking_task(build)
    texts = Texts([task.encode("a red circle")])
    before = depends(task, texts)
    assert before == depends(task, texts)
    data, records = task.setup.data, task.held_out.records
    longer = tmp_path / records[0].path.name
    longer.write_bytes(records[0].path.read_bytes() + b"more")
    moved = replace(task.held_out, records=(replace(records[0], path=longer), *records[1:]))
    for name, found in (
        ("pictures", depends(task, texts, [0, 2, 1])),
        ("pictures", depends(changed(task, held_out=moved), texts)),
        ("texts", depends(task, Texts([task.encode("a blue circle")]))),
        ("--task.codes", depends(with_settings(task, codes=True), texts)),
        ("--task.shortlist", depends(with_settings(task, shortlist=7), texts)),
        ("--task.rows-at-once", depends(with_settings(task, rows_at_once=7), texts)),
        ("size of pictures", depends(with_data(task, data, longer=99), texts)),
        ("size of pictures", depends(with_data(task, data, shorter_held_out=(99,)), texts)),
        ("--data.max-pixels", depends(with_data(task, data, max_pixels=9999), texts)),
        ("--data.canvas-multiple", depends(with_data(task, data, canvas_multiple=7), texts)),
        ("number format", depends(task, texts, runtime=Half())),
    ):
        assert {key for key in before if found[key] != before[key]} == {name}
        assert found.keys() == before.keys()
    with torch.no_grad():
        task.learner.model.match_head.bias.add_(1e-3)
    assert {key for key, value in depends(task, texts).items() if value != before[key]} == {"model"}


class Half(Cpu):
    """In bfloat16."""

    def autocast(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16)


def with_data(task: Any, data: Any, **changes: Any) -> Any:
    return changed(task, setup=replace(task.setup, data=replace(data, **changes)))


def changed(task: Any, **attributes: Any) -> Any:
    """The same task, with the same learner, but for these."""
    other = copy(task)
    vars(other).update(attributes)
    return other


def depends(
    task: Any, texts: Texts, indices: Iterable[int] = (0, 1, 2), runtime: Any = None
) -> dict[str, str | int]:
    model = digest_of_weights(task.learner.model)
    return scores_depend_on(task, runtime or Cpu(), indices, texts, model=model)
