"""One DALI pipeline: files of a batch in, padded pixels out; it draws nothing and keeps no state.

Batches are fed by hand and come back in order. Not by `DALIGenericIterator`, which ends an epoch
early after some broken files, and not by a source that DALI calls, which must not fail. A file that
DALI refuses costs its own batch and no other: so does the dynamic executor of DALI 2.4, where the
text of its error says that the pipeline is gone; a tag with each batch makes sure.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from vlp_fast.data.broken_image import is_out_of_memory
from vlp_fast.data.encoded import EncodedBatch
from vlp_fast.errors import InputError

MOST_IMAGES = 4096
"""Images a batch; an upper bound, for which no memory is taken."""


class OutOfOrder(RuntimeError):
    """DALI gave another batch than the one whose turn it was."""


class DaliPipeline:
    """Decodes, resizes and pads batches as `images.py` and `transforms.py` do, one behind another.

    Args:
        threads: of DALI's own.
        device: where the pixels are wanted; on a GPU it decodes JPEG, and resizes, itself.

    Raises:
        InputError: if DALI is not installed, or cannot work here.
    """

    def __init__(self, *, threads: int, device: torch.device) -> None:
        graph = _graph(on_gpu=device.type == "cuda")
        self._pipeline = graph(
            batch_size=MOST_IMAGES,
            num_threads=threads,
            device_id=_number(device),
            # What is ahead is fed ahead; with another depth DALI asks for more than it was fed.
            prefetch_queue_depth=1,
            exec_dynamic=True,
        )
        _build(self._pipeline)
        self._copied: list[tuple[torch.cuda.Event, Tensor]] = []

    def feed(self, batch: EncodedBatch, tag: int) -> None:
        """Begin with a batch, which `take` gives back under its tag."""
        images, count = batch.images, len(batch.images)
        self._pipeline.feed_input("files", [image.content for image in images])
        self._pipeline.feed_input("sizes", [np.array(i.size, dtype=np.float32) for i in images])
        self._pipeline.feed_input("canvas", [np.array(batch.canvas, dtype=np.int32)] * count)
        self._pipeline.feed_input("tags", [np.array(tag, dtype=np.int64)] * count)
        self._pipeline.schedule_run()

    def take(self, tag: int) -> Tensor | None:
        """The oldest batch that was fed: (B, 3, H, W) uint8, channels last, zero where padded.

        Returns:
            None if DALI refuses one of its files.

        Raises:
            OutOfOrder: if it is not the batch of this tag.
            InputError: if there is no memory; another time the file may be fine.
        """
        try:
            pixels, tags = self._pipeline.outputs()
        except Exception as error:  # of which kind depends on what is wrong with the file
            if is_out_of_memory(error):
                raise InputError(
                    "--data.decoder dali: there is not enough memory for a batch; lower "
                    "--train.batch-size or --data.longer, or use --data.decoder torchvision"
                ) from None
            return None
        if {int(found) for found in np.asarray(tags.as_tensor())} != {tag}:
            raise OutOfOrder
        rows: Tensor = from_dlpack(pixels.as_tensor())
        return self._own(rows).permute(0, 3, 1, 2)

    def _own(self, rows: Tensor) -> Tensor:
        """A GPU's pixels in torch's memory: DALI, which cannot see who reads them, reuses its own.

        Its batch is held until the copy has been made, which nobody waits for.
        """
        if rows.device.type != "cuda":
            return rows
        copy, event = rows.clone(), torch.cuda.Event()
        event.record()
        self._copied = [held for held in self._copied if not held[0].query()]
        self._copied.append((event, rows))
        return copy

    def decode(self, batch: EncodedBatch) -> Tensor | None:
        """One batch, while no other is on its way; None if DALI refuses one of its files."""
        self.feed(batch, 0)
        return self.take(0)


def _number(device: torch.device) -> int | None:
    """Of a GPU; the current one where none is named."""
    if device.type != "cuda":
        return None
    return torch.cuda.current_device() if device.index is None else device.index


def _graph(*, on_gpu: bool) -> Any:
    """What makes a pipeline, with its inputs by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fn, types, pipeline_def = _dali()

    @pipeline_def  # type: ignore[untyped-decorator]
    def graph() -> tuple[Any, Any]:
        files = fn.external_source(name="files", dtype=types.UINT8, ndim=1)
        sizes = fn.external_source(name="sizes", dtype=types.FLOAT, ndim=1)
        canvas = fn.external_source(name="canvas", dtype=types.INT32, ndim=1)
        tags = fn.external_source(name="tags", dtype=types.INT64, ndim=0)
        images = fn.decoders.image(
            files,
            device="mixed" if on_gpu else "cpu",
            output_type=types.RGB,
            adjust_orientation=False,  # what is sent is upright; DALI reads other EXIF than Pillow
            jpeg_fancy_upsampling=True,  # as libjpeg, hence torchvision and Pillow
        )
        images = fn.resize(images, size=sizes, interp_type=types.INTERP_LINEAR, antialias=True)
        return fn.pad(images, axes=(0, 1), shape=canvas, fill_value=0), tags

    return graph


def _build(pipeline: Any) -> None:
    try:
        pipeline.build()
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"--data.decoder dali: DALI cannot work here ({why[:200]}); `vlp-fast doctor` says "
            "what is wrong; or use --data.decoder torchvision"
        ) from None


def _dali() -> tuple[Any, Any, Any]:
    try:
        from nvidia.dali import fn, types
        from nvidia.dali.pipeline import pipeline_def
    except ImportError as error:
        raise InputError(
            f"--data.decoder dali: DALI cannot be imported ({error}); "
            "`pip install 'vlp-fast[dali]'`, or [dali-cu12] for a V100, or --data.decoder "
            "torchvision"
        ) from None
    return fn, types, pipeline_def
