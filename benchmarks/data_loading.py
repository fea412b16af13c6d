"""Cases of the way from files to a batch on the device, in one process, beside what others do.

Names of cases: `batch` the whole way, else one stage of it; the shorter side in pixels that images
are shown at; `B` images a batch. Files are JPEGs of 448x640 with half a byte a pixel, as COCO's
are, drawn anew in each process. Ours hands over bytes, which the model normalises where the CNN
runs: `+ normalised` does that too.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional

from vlp_fast.data.dali_pipeline import DaliPipeline
from vlp_fast.data.encoded import EncodedBatch, EncodedReader
from vlp_fast.data.images import read_image
from vlp_fast.data.transforms import canvas_of, pad_images, resize, resized
from vlp_fast.layers.pixels import IMAGENET_MEAN, IMAGENET_STD, normalised

from .case import Case, Provider, Setting
from .photographs import QUALITY, draw_photograph

SIDES = {224: None, 600: 1000}
"""The shorter side, and the cap of the longer one."""
HEIGHT, WIDTH = 448, 640
LEVELS, BLOCK = 4.0, 8
"""Difference that is allowed: levels of 255, the mean of a block of so many pixels a side."""
BICUBIC = 40.0
"""The same where pixels are interpolated otherwise."""


@dataclass(frozen=True)
class Photographs:
    """Files, and the (height, width) that each is shown at."""

    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    longer: int | None

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the batch."""
        return canvas_of(self.sizes)


def cases(setting: Setting) -> list[Case]:
    """The whole way at both papers' sizes, then its stages at the larger one."""
    batch = setting.batch(16)
    whole = [
        _case(f"batch-{side}-B{batch}", side, batch, _ways(torch.device(setting.device)))
        for side in SIDES
    ]
    stages = [
        _case(f"{stage}-600-B{batch}", 600, batch, providers)
        for stage, providers in _stages().items()
    ]
    return [*whole, *stages]


def _case(name: str, side: int, batch: int, providers: dict[str, Provider]) -> Case:
    return Case(
        operator="data_loading",
        name=name,
        draws=[partial(_photographs, side, batch)],
        providers=providers,
        error=_difference,
        tolerance=LEVELS,
        dtype=torch.uint8,
    )


def _ways(device: torch.device) -> dict[str, Provider]:
    return {
        "vlp_fast": Provider(lambda p: _ours(p).to(device), read=_as_floats),
        "vlp_fast + normalised": Provider(lambda p: normalised(_ours(p).to(device), p.sizes)),
        "vlp_fast DALI": _by_dali(device),
        "torchvision v2": Provider(lambda p: _torchvision(p).to(device)),
        "Pillow, as LAVIS": Provider(lambda p: _pillow(p).to(device), tolerance=BICUBIC),
    }


def _stages() -> dict[str, dict[str, Provider]]:
    """Each stage of what the one before made; all are led to the same batch to be compared."""
    return {
        "decode": {
            "vlp_fast": Provider(_decoded, read=_batch_of_decoded),
            "Pillow": Provider(
                lambda p: [_opened(path) for path in p.paths], read=_batch_of_decoded
            ),
        },
        "resize": {
            "vlp_fast": Provider(_resized, prepare=lambda p: (p, _decoded(p)), read=_batch),
            "torchvision v2, contiguous": Provider(
                _resized, prepare=lambda p: (p, [x.contiguous() for x in _decoded(p)]), read=_batch
            ),
        },
        "pad": {
            "vlp_fast": Provider(
                lambda given: pad_images(given[1], given[0].canvas),
                prepare=_shown,
                read=_as_floats,
            ),
            "torchvision v2, floats": Provider(
                lambda given: _padded([_normal(x) for x in given[1]], given[0].canvas),
                prepare=_shown,
            ),
        },
    }


Given = tuple[Photographs, list[Tensor]]
"""What a stage works on: photographs, and what the stages before made of them."""


def _decoded(photographs: Photographs) -> list[Tensor]:
    return [read_image(path).pixels for path in photographs.paths]


def _decoded_by_pillow(photographs: Photographs) -> list[Tensor]:
    return [_opened(path) for path in photographs.paths]


def _resized(given: Given) -> list[Tensor]:
    photographs, images = given
    return [resize(image, size) for image, size in zip(images, photographs.sizes, strict=True)]


def _shown(photographs: Photographs) -> Given:
    return photographs, _resized((photographs, _decoded(photographs)))


def _batch(photographs: Photographs, images: list[Tensor]) -> Tensor:
    return _as_floats(photographs, pad_images(images, photographs.canvas))


def _batch_of_decoded(photographs: Photographs, images: list[Tensor]) -> Tensor:
    return _batch(photographs, _resized((photographs, images)))


def _ours(photographs: Photographs) -> Tensor:
    """(B, 3, H, W) uint8."""
    pairs = zip(photographs.paths, photographs.sizes, strict=True)
    return pad_images([read_image(path).shown(size) for path, size in pairs], photographs.canvas)


def _by_dali(device: torch.device) -> Provider:
    if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
        return Provider(absence="not installed: pip install nvidia-dali-cuda130")
    return Provider(_dali, prepare=lambda p: (_pipeline(device), p), read=_as_floats)


@cache
def _pipeline(device: torch.device) -> DaliPipeline:
    return DaliPipeline(threads=1, device=device)


def _dali(given: tuple[DaliPipeline, Photographs]) -> Tensor:
    pipeline, photographs = given
    pairs = zip(photographs.paths, photographs.sizes, strict=True)
    images = tuple(EncodedReader()(path).shown(size) for path, size in pairs)
    found = pipeline.decode(EncodedBatch(images=images, canvas=photographs.canvas))
    if found is None:
        raise RuntimeError("DALI refuses a file")
    return found


def _torchvision(photographs: Photographs) -> Tensor:
    """What a DataLoader with torchvision's transforms does."""
    pairs = zip(photographs.paths, photographs.sizes, strict=True)
    images = [
        _normal(functional.resize(_read(path), list(size), antialias=True)) for path, size in pairs
    ]
    return _padded(images, photographs.canvas)


def _pillow(photographs: Photographs) -> Tensor:
    """What LAVIS and others of its time do: Pillow, bicubic, floats."""
    pairs = zip(photographs.paths, photographs.sizes, strict=True)
    images = []
    for path, (height, width) in pairs:
        with Image.open(path) as image:
            shown = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        images.append(_normal(torch.from_numpy(np.array(shown)).permute(2, 0, 1)))
    return _padded(images, photographs.canvas)


def _read(path: Path) -> Tensor:
    return cast(Tensor, decode_image(str(path), mode=ImageReadMode.RGB))


def _opened(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _normal(pixels: Tensor) -> Tensor:
    floats = functional.to_dtype(pixels, torch.float32, scale=True)
    return cast(Tensor, functional.normalize(floats, list(IMAGENET_MEAN), list(IMAGENET_STD)))


def _padded(images: list[Tensor], canvas: tuple[int, int]) -> Tensor:
    batch = torch.zeros(len(images), 3, *canvas)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.size(1), : image.size(2)] = image
    return batch


def _as_floats(photographs: Photographs, batch: Tensor) -> Tensor:
    return normalised(batch, photographs.sizes)


def _difference(photographs: Photographs, batch: Tensor) -> float:
    """The largest of all blocks, in levels of 255, from torchvision's."""
    difference = (batch.cpu() - _torchvision(photographs)).abs()
    blocks = avg_pool2d(difference, BLOCK, ceil_mode=True, count_include_pad=False)
    return float(blocks.mean(1).max() * 255 * float(np.mean(IMAGENET_STD)))


def _photographs(side: int, batch: int) -> Photographs:
    paths = _files(batch)
    sizes = tuple(resized((HEIGHT, WIDTH), side, SIDES[side]) for _ in paths)
    return Photographs(paths, sizes, SIDES[side])


@cache
def _files(count: int) -> tuple[Path, ...]:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    draw = np.random.default_rng(0)
    for index in range(count):
        image = draw_photograph(draw, HEIGHT, WIDTH)
        image.save(folder / f"{index}.jpg", quality=QUALITY)
    return tuple(sorted(folder.iterdir()))
