"""Trains transformers' RT-DETR on the drawn world: encoder, decoder and denoising terms together.

python examples/rt_detr_on_the_world.py --steps 300 --world runs/world
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from detr_on_the_world import example
from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

import vlp_fast
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.world.layouts import make_world


def small(num_labels: int) -> RTDetrForObjectDetection:
    """A model for pictures of 96 pixels; or yours, from_pretrained."""
    stages = {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 1, 1]}
    names = ["stage2", "stage3", "stage4"]
    resnet = RTDetrResNetConfig(layer_type="basic", out_features=names, **stages)
    widths = {"d_model": 64, "encoder_hidden_dim": 64, "encoder_ffn_dim": 128}
    channels = {"encoder_in_channels": [32, 64, 64], "decoder_in_channels": [64, 64, 64]}
    sizes = {"decoder_layers": 3, "decoder_ffn_dim": 128, "num_queries": 30, "num_denoising": 20}
    config = RTDetrConfig(
        backbone_config=resnet, num_labels=num_labels, **widths, **channels, **sizes
    )
    return RTDetrForObjectDetection(config)


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Trains, and returns the losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--world", type=Path, default=Path("runs/world"))
    given = parser.parse_args(arguments)
    if not given.world.exists():
        make_world(given.world, images=400, seed=0)
    data = load_dataset(given.world, "train", layout="karpathy", needs_boxes=True)
    model = small(len(data.class_names)).train()
    print(vlp_fast.accelerate(model))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    losses = []
    for step in range(given.steps):
        chosen = torch.randint(len(data.records), (8,))
        pixels, labels = zip(*(example(data.records[i]) for i in chosen.tolist()), strict=True)
        out = model(torch.stack(pixels), labels=list(labels))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(out.loss.item())
        if step % 20 == 0:
            print(f"step {step}: loss {losses[-1]:.3f}, of {len(out.loss_dict)} terms")
    return losses


if __name__ == "__main__":
    main()
