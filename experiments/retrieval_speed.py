"""Scores of pictures with texts beside a loop as others write it (METER's), in one run.

    OMP_NUM_THREADS=2 python experiments/retrieval_speed.py --pictures 2 --texts 640 --pairs 64

The loop repeats a picture `--batch` times, runs the image tower for every pair, pads texts to 40
tokens with a mask, and computes all rows of all layers, in plain PyTorch with its fused attention.
Both score the same pairs by the same random weights in float32, picture after picture in turn;
scores that differ by more than 1e-5 end it. Of texts, of COCO's lengths, the loop gets the first
`--pairs`, for a pair takes it the same time, however many there are; ours gets all, since it reads
texts of one length together. Pictures are noise of Flickr30k's usual sizes.

Printed are seconds a pair, and the time of 1,000 pictures with 5,000 texts, extrapolated: for ours
a picture's look and 5,000 pairs, times 1,000.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.layers.transformer import EncoderLayer
from vlp_fast.models.config import model_config
from vlp_fast.models.soho import Soho
from vlp_fast.ops.grid import make_grid
from vlp_fast.tasks.images import batch_images
from vlp_fast.tasks.retrieval.match_score import match_scores
from vlp_fast.tasks.retrieval.scoring import Look, Scorer
from vlp_fast.tasks.retrieval.texts import Texts

SIZES = ((600, 800), (800, 600), (600, 901))
"""Of 375x500, 500x375 and 333x500 pixels with a shorter side of 600."""
LENGTHS = {10: 3.5, 11: 12.2, 12: 17.7, 13: 19.4, 14: 15.9, 15: 11.7, 16: 7.6, 17: 4.5, 18: 2.7}
LENGTHS |= {19: 1.6, 20: 1.0, 21: 0.6, 22: 0.5, 23: 0.3, 24: 0.8}
"""Percent of COCO's captions by WordPieces, [CLS] and [SEP] counted (13,986 of val2017)."""
PADDED = 40
BOUND = 1e-5
WORDS = 30522


class Cpu:
    """Float32 on the CPU."""

    device = torch.device("cpu")

    def autocast(self) -> Any:
        """No other format."""
        return torch.autocast("cpu", enabled=False)


def main() -> None:
    """Time both in turn, compare, print."""
    options = read_options()
    torch.manual_seed(0)
    model = model_config("soho_r18_3").build().eval()
    model.backbone.to(memory_format=torch.channels_last)
    assert isinstance(model, Soho)
    ids, pictures = draw(options)
    scorer, texts = Scorer(model=model, runtime=Cpu()), Texts(ids)
    few = ids[: options.pairs]
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} before")
    rows = []
    with torch.no_grad():
        scorer.scores([scorer.look(pictures[0])], Texts(ids[:16]))  # both warm up
        loop(model, pictures[0], ids[: options.batch], options.batch)
        for picture in pictures:
            look, of_look = timed(lambda p=picture: scorer.look(p))
            ours, of_ours = timed(lambda seen=look: scorer.scores([seen], texts))
            theirs, of_theirs = timed(lambda p=picture: loop(model, p, few, options.batch))
            apart = np.abs(ours[0, texts.places][: len(few)] - theirs.numpy()).max()
            rows.append((of_look, of_ours / len(ids), of_theirs / len(few), float(apart)))
            tell(picture, look, *rows[-1])
            if not apart <= BOUND:
                raise SystemExit(f"scores differ by {apart:.1e}, more than {BOUND:.0e}")
    summary(rows)
    print(f"load {os.getloadavg()[0]:.1f} after")


def loop(model: Soho, picture: Example, ids: Sequence[Sequence[int]], batch: int) -> Tensor:
    """(n,) scores of a picture with n texts, pair by pair from the pixels on."""
    images, sizes, _ = batch_images([picture] * batch, model)
    grid = make_grid(*model.grid_sizes(sizes, (images.shape[2], images.shape[3])))
    found = []
    for start in range(0, len(ids), batch):
        some = ids[start : start + batch]
        padded = torch.zeros(batch, PADDED, dtype=torch.int64)
        for row, text in zip(padded, some, strict=False):
            row[: len(text)] = torch.tensor(text)
        cells, _ = model.cell_rows(model.see(images, grid, sizes, codes=False), grid)
        places = torch.arange(PADDED).expand_as(padded)
        words = model.text_embeddings(padded, places)
        x = torch.cat([words, cells.unflatten(0, (batch, -1))], dim=1)
        is_text = torch.cat([padded > 0, torch.ones(batch, x.shape[1] - PADDED).bool()], dim=1)
        for layer in model.encoder.layers:
            x = plain_layer(layer, x, is_text[:, None, None])
        found.append(match_scores(model, x[:, 0])[: len(some)])
    return torch.cat(found)


def plain_layer(layer: EncoderLayer, x: Tensor, mask: Tensor) -> Tensor:
    """A layer of BERT over (B, L, D) padded rows."""
    attention = layer.attention
    qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    heads = qkv.unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(*heads.unbind(0), attn_mask=mask)
    x = layer.norm1(x + attention.out_proj(mixed.transpose(1, 2).flatten(2)))
    out: Tensor = layer.norm2(x + layer.ffn(x))
    return out


def draw(options: argparse.Namespace) -> tuple[list[list[int]], list[Example]]:
    """Texts as ids, and pictures."""
    rng = np.random.default_rng(0)
    shares = np.array(list(LENGTHS.values()))
    lengths = rng.choice(list(LENGTHS), options.texts, p=shares / shares.sum())
    ids = [[101, *rng.integers(1000, WORDS, n - 2).tolist(), 102] for n in lengths.tolist()]
    return ids, [noise(SIZES[i % len(SIZES)], i) for i in range(options.pictures)]


def noise(size: tuple[int, int], seed: int) -> Example:
    """A picture."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 12, 12, generator=generator) * 255
    image = F.interpolate(coarse, size, mode="bicubic", align_corners=False)[0]
    nothing = torch.zeros(0, dtype=torch.int64)
    return Example(
        index=seed,
        image_id=seed,
        image=image.clamp(0, 255).byte(),
        captions=(),
        boxes=torch.zeros(0, 4),
        labels=nothing,
        attributes=nothing,
    )


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and seconds."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def tell(
    picture: Example, look: Look, of_look: float, ours: float, theirs: float, apart: float
) -> None:
    """A line about a picture."""
    print(
        f"{picture.size[0]}x{picture.size[1]} pixels, {len(look.cells)} cells: ours {ours:.4f} s a "
        f"pair and {of_look:.2f} s once, the loop {theirs:.4f} s a pair; scores differ by "
        f"{apart:.1e}",
        flush=True,
    )


def summary(rows: Sequence[tuple[float, float, float, float]]) -> None:
    """Means over the pictures, and what they come to for Flickr30k's test."""
    look, ours, theirs = (statistics.mean(row[i] for row in rows) for i in range(3))
    whole, of_loop = 1000 * (look + 5000 * ours) / 3600, 1000 * 5000 * theirs / 3600
    print(
        f"1,000 pictures with 5,000 texts, extrapolated: {whole:.1f} h, the loop {of_loop:.0f} h: "
        f"{of_loop / whole:.1f} times as fast; largest difference {max(r[3] for r in rows):.1e}"
    )


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--texts", type=int, default=640)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    if options.pairs % options.batch or options.pairs > options.texts:
        parser.error("--pairs: give whole batches of --batch, and no more than --texts")
    return options


if __name__ == "__main__":
    main()
