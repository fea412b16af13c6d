"""What scores depend on, in a few words each: those of one thing are never mixed with another's."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vlp_fast.data.picture_file import PictureFile
from vlp_fast.tasks.held_out import Runtime
from vlp_fast.tasks.retrieval.texts import Texts

if TYPE_CHECKING:
    from vlp_fast.tasks.retrieval.retrieval import Retrieval


def scores_depend_on(
    task: Retrieval, runtime: Runtime, indices: Iterable[int], texts: Texts, *, model: str
) -> dict[str, str | int]:
    """By name, all that the scores of these pictures and texts are made from; `model` by digest."""
    data, records = task.setup.data, task.held_out.records
    pictures = (f"{records[i].image_id} {_file(records[i].path)}" for i in indices)
    return {
        "model": model,
        "pictures": _digest(name.encode(errors="surrogatepass") for name in pictures),
        "texts": _digest(repr(ids).encode() for ids in texts.distinct),
        "size of pictures": f"{data.shorter_held_out} to {data.longer}",
        "--data.max-pixels": data.max_pixels,
        "--data.canvas-multiple": data.canvas_multiple,
        "--task.codes": str(task.settings.codes),
        "--task.shortlist": task.settings.shortlist,
        "--task.rows-at-once": task.settings.rows_at_once,
        "number format": f"{_format(runtime)} on {runtime.device.type}",
        "torch": torch.__version__,
    }


def digest_of_weights(model: nn.Module) -> str:
    """Of all parameters and buffers, by name."""
    tensors = sorted(model.state_dict().items())
    return _digest(part for name, x in tensors for part in (name.encode(), _bytes(x)))


def _file(path: PictureFile) -> str:
    """Its name and size, for another folder may have other pictures of the same names."""
    try:
        return f"{path.name} {path.stat().st_size}"
    except OSError:  # it is broken, and so are its scores
        return path.name


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
