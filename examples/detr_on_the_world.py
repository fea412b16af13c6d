"""Trains transformers' DETR on the drawn world; matching and losses of all layers are vlp_fast's:
python examples/detr_on_the_world.py --steps 300 --world runs/world
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

import vlp_fast
from vlp_fast.data.images import read_image
from vlp_fast.data.record import Record
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.world.layouts import make_world

SIDE = 96


def example(record: Record) -> tuple[Tensor, dict[str, Tensor]]:
    """Pixels, and what transformers' image processor makes of annotations."""
    pixels = read_image(record.path).shown((SIDE, SIDE)) / 127.5 - 1
    sides = torch.tensor([record.width, record.height])
    low, high = (torch.from_numpy(record.boxes).view(-1, 2, 2) / sides).unbind(1)
    boxes = torch.cat([(low + high) / 2, high - low], dim=1)
    return pixels, {"class_labels": torch.from_numpy(record.labels), "boxes": boxes}


def main(arguments: Sequence[str] | None = None) -> list[float]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--world", type=Path, default=Path("runs/world"))
    given = parser.parse_args(arguments)
    if not given.world.exists():
        make_world(given.world, images=400, seed=0)
    data = load_dataset(given.world, "train", layout="karpathy", needs_boxes=True)
    resnet = ResNetConfig(hidden_sizes=[32, 64, 128], depths=[1, 1, 1], out_features=["stage3"])
    sizes = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 3, "num_queries": 20}
    sizes |= {"num_labels": len(data.class_names), "auxiliary_loss": True}
    config = DetrConfig(backbone_config=resnet, **sizes)
    model = DetrForObjectDetection(config)  # or yours, from_pretrained
    print(vlp_fast.accelerate(model))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    losses: list[float] = []
    for step in range(given.steps):
        chosen = torch.randint(len(data.records), (8,)).tolist()
        pixels, labels = zip(*(example(data.records[i]) for i in chosen), strict=True)
        loss = model(torch.stack(pixels), labels=list(labels)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        print(f"step {step}: loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
