"""Padded batches by torchvision's transforms v2 and PyTorch's DataLoader.

Pictures are decoded, resized, made floats, normalised and padded by loading processes, texts padded
to the longest of the batch (E2E-VLP) or to the most there may be (the published SOHO). Texts, words
that are masked and sizes of pictures are drawn as ours are, so that both sides learn the same.
B pictures, S texts, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from vlp_fast.data.encoded import EncodedImage, EncodedReader
from vlp_fast.data.examples import Example, ImageLoader
from vlp_fast.data.randomness import generator
from vlp_fast.data.transforms import canvas_of
from vlp_fast.engine.config import RunConfig
from vlp_fast.layers.pixels import IMAGENET_MEAN, IMAGENET_STD
from vlp_fast.models.config import SohoConfig
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.pretraining.captioning import shift
from vlp_fast.tasks.pretraining.itm import draw_own_captions
from vlp_fast.tasks.pretraining.mlm import MaskedText
from vlp_fast.tasks.pretraining.pretraining import Pretraining

from .bert import NO_WORD
from .set_loss import Annotation

Key = tuple[int, int]
"""Epoch and number of a picture."""
WORKERS = 2
PAD_MULTIPLE, CELL = 32, 64
"""Pixels that the published SOHO pads to multiples of, and that a pooled cell covers."""


class PairBatch(NamedTuple):
    """A step of E2E-VLP: a text and a caption a picture."""

    images: Tensor
    """(B, 3, H, W) float, normalised, zeros behind each picture."""
    is_padding: Tensor
    """(B, H, W) bool."""
    text_ids: Tensor
    """(B, L)."""
    text_padding: Tensor
    """(B, L) bool."""
    word_labels: Tensor
    """(B, L), `NO_WORD` where nothing is to be told."""
    is_matched: Tensor
    """(B,)."""
    caption_ids: Tensor
    """(B, L'), what the decoder reads."""
    caption_padding: Tensor
    """(B, L') bool."""
    caption_labels: Tensor
    """(B, L'), the next words."""
    annotations: list[Annotation]

    @property
    def pairs(self) -> int:
        """Texts with pictures."""
        return len(self.text_ids)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the model reads."""
        texts = (self.text_ids, self.text_padding, self.caption_ids, self.caption_padding)
        return (self.images, self.is_padding, *texts)


class GroupBatch(NamedTuple):
    """A step of the published SOHO: several texts a picture, those of a picture together."""

    images: Tensor
    """(B, 3, H, W) float, normalised, H and W multiples of 32."""
    is_padding: Tensor
    """(B, H, H) bool: the published code takes the height for the width."""
    text_ids: Tensor
    """(S, L)."""
    text_padding: Tensor
    """(S, L) bool."""
    word_labels: Tensor
    """(S, L), `NO_WORD` where nothing is to be told."""
    is_matched: Tensor
    """(S,)."""
    position: Tensor
    """() int64, the cell of the map whose code is hidden in all pictures."""
    is_chosen: Tensor
    """(S,) bool, where it is."""

    @property
    def pairs(self) -> int:
        """Texts with pictures."""
        return len(self.text_ids)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the model reads."""
        texts = (self.text_ids, self.text_padding)
        return (self.images, self.is_padding, *texts, self.position, self.is_chosen)


Batch = PairBatch | GroupBatch


class Item(NamedTuple):
    """A picture, loaded."""

    example: Example
    epoch: int
    pixels: Tensor
    """(3, h, w) float, normalised."""


class Pictures(Dataset[Item]):
    """A task's pictures, decoded and transformed by torchvision."""

    def __init__(self, task: Pretraining, run: RunConfig) -> None:
        data = run.data
        self._loader = ImageLoader(
            dataset=task.train,
            shorter=data.shorter,
            longer=data.longer,
            seed=run.train.seed,
            reader=EncodedReader(),
        )
        to_floats = v2.ToDtype(torch.float32, scale=True)
        self._transform = v2.Compose([to_floats, v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])

    def __getitem__(self, key: Key) -> Item:
        """The picture of an epoch and a number."""
        epoch, index = key
        example = self._loader.load(index, epoch)
        assert isinstance(example.image, EncodedImage)
        file = torch.frombuffer(bytearray(example.image.content), dtype=torch.uint8)
        pixels = decode_image(file, mode=ImageReadMode.RGB)
        resized = v2.functional.resize(pixels, list(example.size), antialias=True)
        return Item(example, epoch, self._transform(resized))


def padded_loader(
    task: Pretraining, run: RunConfig, batches: Sequence[Sequence[Key]], device: torch.device
) -> DataLoader[Item]:
    """What gives the batches one after the other."""
    return DataLoader(
        Pictures(task, run),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=WORKERS,
        collate_fn=Collation(task, run),
        pin_memory=device.type == "cuda",
    )


class Collation:
    """Pairs, masks and pads, as the model of a task needs it."""

    def __init__(self, task: Pretraining, run: RunConfig) -> None:
        self._task, self._seed = task, run.train.seed
        self._length = run.data.max_text_length

    def __call__(self, items: list[Item]) -> Batch:
        """Make a batch."""
        is_soho = isinstance(self._task.model_config, SohoConfig)
        return self._groups(items) if is_soho else self._pairs(items)

    def _pairs(self, items: list[Item]) -> PairBatch:
        settings: Any = self._task.settings
        texts, is_matched, captions = [], [], []
        for example, epoch, _ in items:
            draw = self._draw(example, epoch)
            text, caption = draw_own_captions(example.captions, 2, draw)
            matched = bool(draw.random() >= settings.mismatch_rate)
            if not matched:
                text = self._foreign(example, epoch, draw)
            draw.random()  # ours: whether boxes are found without the text
            texts.append(self._task.corruption.mask(text, draw))
            is_matched.append(matched)
            captions.append(shift(self._task.corruption.ids(caption)))
        images, is_padding = _padded(items, 1)
        read = [tokens for tokens, _ in captions]
        return PairBatch(
            images,
            is_padding,
            *self._texts([text.ids for text in texts]),
            _padded_ids([_labels(*x) for x in zip(texts, is_matched, strict=True)], NO_WORD),
            torch.tensor(is_matched).long(),
            *self._texts(read),
            _padded_ids([answers for _, answers in captions], NO_WORD),
            [_annotation(example) for example, _, _ in items],
        )

    def _groups(self, items: list[Item]) -> GroupBatch:
        settings: Any = self._task.settings
        number = settings.own_texts + settings.foreign_texts
        texts, is_matched, noise = [], [], []
        for example, epoch, _ in items:
            draw = self._draw(example, epoch)
            is_own = [bool(coin < 0.5) for coin in draw.random(number)]
            own = iter(draw_own_captions(example.captions, sum(is_own), draw))
            pairs = [next(own) if mine else self._foreign(example, epoch, draw) for mine in is_own]
            texts += [self._task.corruption.mask(text, draw) for text in pairs]
            is_matched += is_own
            noise.append(float(np.float32(draw.random())))
        images, is_padding = _padded(items, PAD_MULTIPLE)
        height, width = images.shape[2:]
        cells = (height // CELL) * (width // CELL)
        assert isinstance(self._task.model_config, SohoConfig)
        rate = self._task.model_config.mvm_rate
        is_chosen = [x * cells % 1 < rate for x in noise]
        ids, text_padding = self._texts([text.ids for text in texts], self._length)
        labels = _padded_ids([_labels(text, True) for text in texts], NO_WORD, self._length)
        return GroupBatch(
            images,
            _square(is_padding),
            ids,
            text_padding,
            labels,
            torch.tensor(is_matched).long(),
            torch.tensor(int(noise[0] * cells)),
            torch.tensor(is_chosen).repeat_interleave(number),
        )

    def _draw(self, example: Example, epoch: int) -> np.random.Generator:
        return generator(self._seed, epoch, example.index, "pairs")

    def _foreign(self, example: Example, epoch: int, draw: np.random.Generator) -> str:
        key = BatchKey(self._task.train, epoch, None)
        return self._task.foreign_caption(example, draw, key)

    def _texts(self, ids: list[list[int]], length: int = 0) -> tuple[Tensor, Tensor]:
        """Tokens (S, L), and which of them are padding."""
        pad = self._task.tokenizer.pad_id
        lengths = torch.tensor([len(tokens) for tokens in ids])
        padded = _padded_ids(ids, pad, length)
        return padded, torch.arange(padded.shape[1]) >= lengths[:, None]


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device, without a wait where it lies in page-locked memory."""

    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device, non_blocking=True)
        return [{name: x.to(device, non_blocking=True) for name, x in one.items()} for one in value]

    return type(batch)(*map(move, batch))


def _padded(items: list[Item], multiple: int) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) pixels and (B, H, W) bool, True on padding."""
    height, width = canvas_of([item.example.size for item in items], multiple)
    images = torch.zeros(len(items), 3, height, width)
    is_padding = torch.ones(len(items), height, width, dtype=torch.bool)
    for item, place, padding in zip(items, images, is_padding, strict=True):
        h, w = item.example.size
        place[:, :h, :w].copy_(item.pixels)
        padding[:h, :w] = False
    return images, is_padding


def _square(is_padding: Tensor) -> Tensor:
    """The mask on a canvas as wide as it is high: cut off, or with padding at the right."""
    height, width = is_padding.shape[1:]
    if width >= height:
        return is_padding[:, :, :height].contiguous()
    return torch.nn.functional.pad(is_padding, (0, height - width), value=True)


def _padded_ids(ids: list[list[int]], value: int, length: int = 0) -> Tensor:
    """(S, L) int64, as long as the longest or as `length`."""
    padded = pad_sequence([torch.tensor(x) for x in ids], batch_first=True, padding_value=value)
    missing = max(length - padded.shape[1], 0)
    return torch.nn.functional.pad(padded, (0, missing), value=value)


def _labels(text: MaskedText, is_used: bool) -> list[int]:
    """The original of each token that was chosen, if the text has the loss."""
    labels = [NO_WORD] * len(text.ids)
    for position, target in zip(text.positions, text.targets, strict=True):
        labels[position] = target if is_used else NO_WORD
    return labels


def _annotation(example: Example) -> Annotation:
    return {"boxes": example.boxes, "labels": example.labels, "attributes": example.attributes}
