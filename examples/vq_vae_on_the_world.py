"""Trains a VQ-VAE on the drawn world: lucidrains' VectorQuantize, searched and moved by vlp_fast:
python examples/vq_vae_on_the_world.py --steps 300 --world runs/world
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from vector_quantize_pytorch import VectorQuantize

import vlp_fast
from vlp_fast.data.images import read_image
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.world.layouts import make_world

SIDE, WIDTH = 64, 32


class VqVae(nn.Module):  # to an eighth of the sides, and back
    def __init__(self) -> None:
        super().__init__()
        down, up = [], []
        for inner, outer in ((3, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH)):
            down += [nn.Conv2d(inner, outer, 4, 2, 1), nn.ReLU()]
            up = [nn.ReLU(), nn.ConvTranspose2d(outer, inner, 4, 2, 1), *up]
        self.down, self.up = nn.Sequential(*down[:-1]), nn.Sequential(*up[1:])
        self.quantizer = VectorQuantize(dim=WIDTH, codebook_size=128, accept_image_fmap=True)


def main(arguments: Sequence[str] | None = None) -> list[float]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--world", type=Path, default=Path("runs/world"))
    given = parser.parse_args(arguments)
    if not given.world.exists():
        make_world(given.world, images=400, seed=0)
    records = load_dataset(given.world, "train", layout="karpathy").records
    model = VqVae()
    print(vlp_fast.accelerate(model))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses: list[float] = []
    for step in range(given.steps):
        chosen = torch.randint(len(records), (8,)).tolist()
        shown = [read_image(records[i].path).shown((SIDE, SIDE)) for i in chosen]
        pixels = torch.stack(shown) / 127.5 - 1
        codes, _, commitment = model.quantizer(model.down(pixels))
        loss = (model.up(codes) - pixels).square().mean()
        optimizer.zero_grad()
        (loss + commitment).backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"step {step}: mean square {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
