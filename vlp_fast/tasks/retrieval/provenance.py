"""What scores depend on, in a few words each: those of one thing are never mixed with another's."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vlp_fast.tasks.held_out import Runtime
from vlp_fast.tasks.retrieval.texts import Texts

if TYPE_CHECKING:
    from vlp_fast.tasks.retrieval.retrieval import Retrieval


def scores_depend_on(
    task: Retrieval, runtime: Runtime, indices: Iterable[int], texts: Texts
) -> dict[str, str | int]:
    """By name, all that the scores of these pictures and texts are made from."""
    data, records = task.setup.data, task.held_out.records
    pictures = (f"{records[i].image_id} {records[i].path.name}" for i in indices)
    return {
        "model": _of_weights(task.learner.model),
        "pictures": _digest(name.encode(errors="surrogatepass") for name in pictures),
        "texts": _digest(repr(ids).encode() for ids in texts.distinct),
        "size of pictures": f"{data.shorter_held_out} to {data.longer}",
        "--task.codes": str(task.settings.codes),
        "--task.shortlist": task.settings.shortlist,
        "--task.rows-at-once": task.settings.rows_at_once,
        "number format": f"{_format(runtime)} on {runtime.device.type}",
        "torch": torch.__version__,
    }


def _of_weights(model: nn.Module) -> str:
    tensors = sorted(model.state_dict().items())
    return _digest(part for name, x in tensors for part in (name.encode(), _bytes(x)))


def _bytes(x: Tensor) -> bytes:
    content: bytes = x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return content


def _format(runtime: Runtime) -> str:
    kind = runtime.device.type
    with runtime.autocast():
        is_on = torch.is_autocast_enabled(kind)
        return str(torch.get_autocast_dtype(kind) if is_on else torch.float32)


def _digest(parts: Iterable[bytes]) -> str:
    found = blake2b(digest_size=8)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()
