"""Models of others before and after `vlp_fast.accelerate`: a step, the share of its loss, memory.

    python experiments/swapped_models.py [FAMILY ...] [--steps 20] [--images 4] [--device cuda]

Each family is measured in two processes, one for each side, which take turns step by step. A line a
side: the median of a step forward and backward in milliseconds, the shares of it that the loss
function takes and that matching within it takes, the peak of memory in MiB (of the process on a
CPU, of what PyTorch allocated on a GPU), and the loss of the last step. A last line says how far
the losses of all steps are apart, by the larger one; above 1e-3 the program ends with 1. Weights
are random and trained between the steps, off the clock; dropout is 0, so that both do the same
work.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

SIDES = ("before", "after")
UNCOUNTED = 2
"""Steps of each side, in front of those that are counted."""
CLOSE = 1e-3
"""How far apart two losses of a step may be, by the larger one; rounding grows by training."""


class Clock:
    """Adds up how long some functions took."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, 0.0

    def on(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, on the clock; a function of Python, so that a class binds it."""

        def timed(*given: Any, **named: Any) -> Any:
            start = now(self.device)
            found = function(*given, **named)
            self.seconds += now(self.device) - start
            return found

        return timed


def main() -> None:
    """Measure the families that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=4, help="a batch of the detectors")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="small models and batches")
    parser.add_argument("--side", choices=SIDES, help="internal: measure this side, step by step")
    given = parser.parse_args()
    if given.side:
        serve(given.families[0], given)
        return
    apart = [measure(family, given) for family in given.families]
    raise SystemExit(1 if max(apart) > CLOSE else 0)


def measure(family: str, given: argparse.Namespace) -> float:
    """Print the lines of a family; return how far apart the losses are."""
    rows = both_sides(family, given)
    for side, steps in rows.items():
        row = summary(steps[UNCOUNTED:])
        loss, match = (
            f"{100 * row[part] / row['seconds']:.1f} %"
            for part in ("loss_seconds", "match_seconds")
        )
        print(
            f"{family:18} {side:6}  {1000 * row['median']:8.1f} ms  loss {loss:>6}  "
            f"matching {match:>6}  {row['peak']:6.0f} MiB  {row['loss']:.6f}",
            flush=True,
        )
    pairs = zip(*([step["loss"] for step in steps] for steps in rows.values()), strict=True)
    apart = max(abs(one - other) / max(abs(one), abs(other), 1e-12) for one, other in pairs)
    print(f"{family:18} losses of {given.steps + UNCOUNTED} steps: {apart:.1e} apart", flush=True)
    return apart


def both_sides(family: str, given: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Run a process for each side, one step of each in turn; the rows of all steps."""
    command = [sys.executable, __file__, family, "--device", given.device]
    command += ["--images", str(given.images), *(["--quick"] if given.quick else [])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = {side: subprocess.Popen([*command, "--side", side], **pipes) for side in SIDES}
    rows: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(given.steps + UNCOUNTED):
        for side, process in running.items():
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("step\n")
            process.stdin.flush()
            rows[side].append(json.loads(process.stdout.readline()))
    for process in running.values():
        process.communicate()
    return rows


def summary(steps: list[dict[str, float]]) -> dict[str, float]:
    """One row of all steps of a side."""
    names = ("seconds", "loss_seconds", "match_seconds")
    total = {name: sum(step[name] for step in steps) for name in names}
    median = statistics.median(step["seconds"] for step in steps)
    return {**steps[-1], **total, "median": median}


def serve(family: str, given: argparse.Namespace) -> None:
    """Do a step for each line that comes in, and answer with what it took."""
    torch.manual_seed(0)
    device = given.device
    model, call = FAMILIES[family](given)
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.MultiheadAttention):
            setattr(module, "p" if isinstance(module, nn.Dropout) else "dropout", 0.0)
    model.train().to(device)
    if given.side == "after":
        import vlp_fast

        vlp_fast.accelerate(model)
    loss_clock, match_clock = Clock(device), Clock(device)
    if hasattr(model, "loss_function"):
        put_on_the_clock(model, loss_clock, match_clock)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3) if list(model.parameters()) else None
    for _ in sys.stdin:
        loss_clock.seconds = match_clock.seconds = 0.0
        start = now(device)
        torch.manual_seed(1)
        loss = call(model, device)
        loss.backward()
        seconds = now(device) - start
        if optimizer is not None:
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
        model.zero_grad()
        row = {"seconds": seconds, "loss_seconds": loss_clock.seconds, "peak": peak(device)}
        row |= {"match_seconds": match_clock.seconds, "loss": loss.item()}
        print(json.dumps(row), flush=True)


def put_on_the_clock(model: Any, loss_clock: Clock, match_clock: Clock) -> None:
    """Time a model's loss, and its matcher: a method of ours, or a class that theirs makes anew."""
    if hasattr(model.loss_function, "match"):
        model.loss_function.match = match_clock.on(model.loss_function.match)
    else:
        for module in [
            m for name, m in sys.modules.items() if name.startswith("transformers.loss")
        ]:
            for name, matcher in vars(module).items():
                if name.endswith("HungarianMatcher") and matcher.__module__ == module.__name__:
                    matcher.forward = match_clock.on(matcher.forward)
    model.loss_function = loss_clock.on(model.loss_function)


def now(device: str) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak(device: str) -> float:
    """MiB at the most so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


Made = tuple[nn.Module, Callable[[nn.Module, str], Tensor]]


def detector(name: str, given: argparse.Namespace) -> Made:
    """A model of transformers as its configuration has it, with a ResNet-50 where it has a CNN."""
    import transformers

    is_quick = given.quick
    options: dict[str, Any] = {} if name == "Yolos" else {"auxiliary_loss": True}
    if not name.startswith(("RTDetr", "Yolos")):
        names = ["stage2", "stage3", "stage4"] if name == "DeformableDetr" else ["stage4"]
        options["backbone_config"] = transformers.ResNetConfig(out_features=names)
        options |= {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
    if is_quick and name == "Yolos":
        options |= {"num_hidden_layers": 1, "image_size": [64, 64], "num_detection_tokens": 10}
    elif is_quick:
        options |= {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 10}
    config = getattr(transformers, f"{name}Config")(num_labels=80, **options)
    model = getattr(transformers, f"{name}ForObjectDetection")(config)
    if name == "Yolos":  # its queries start alike, and each side may then train others of them
        nn.init.normal_(model.vit.embeddings.detection_tokens, std=0.02)
    images, side, most = (2, 64, 4) if is_quick else (given.images, 480, 20)
    draw = torch.Generator().manual_seed(0)
    shape = config.image_size if name == "Yolos" else [side, side]
    pixels = torch.randn(images, 3, *shape, generator=draw)
    counts = torch.randint(1, most + 1, (images,), generator=draw).tolist()
    labels = [
        {
            "class_labels": torch.randint(80, (count,), generator=draw),
            "boxes": 0.3 + 0.3 * torch.rand(count, 4, generator=draw),
        }
        for count in counts
    ]

    def call(model: nn.Module, device: str) -> Tensor:
        moved = [{name: x.to(device) for name, x in one.items()} for one in labels]
        loss: Tensor = model(pixels.to(device), labels=moved).loss
        return loss

    return model, call


def encoder(given: argparse.Namespace) -> Made:
    """Six of PyTorch's encoder layers, over sequences of 30 to 100 percent of the longest."""
    width, layers, batch, length = (32, 1, 2, 20) if given.quick else (256, 6, 8, 850)
    layer = nn.TransformerEncoderLayer(width, 8, 8 * width, batch_first=True)
    model = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    draw = torch.Generator().manual_seed(0)
    x, mask = torch.randn(batch, length, width, generator=draw), padding(batch, length, draw)

    def call(model: nn.Module, device: str) -> Tensor:
        out = model(x.to(device), src_key_padding_mask=mask.to(device))
        return out.masked_fill(mask[..., None].to(device), 0).square().sum() / (~mask).sum()

    return model, call


def bert(given: argparse.Namespace) -> Made:
    """BERT's base size with half of its layers, over texts of 30 to 100 percent of 128 words."""
    import transformers

    sizes = {"hidden_size": 24, "num_hidden_layers": 1} if given.quick else {"num_hidden_layers": 6}
    model = transformers.BertForMaskedLM(transformers.BertConfig(**sizes))
    draw = torch.Generator().manual_seed(0)
    batch, length = (2, 16) if given.quick else (32, 128)
    words = torch.randint(1000, 9000, (batch, length), generator=draw)
    mask = ~padding(batch, length, draw)

    def call(model: nn.Module, device: str) -> Tensor:
        given = {"input_ids": words, "attention_mask": mask.long()}
        given["labels"] = words.where(mask & (words % 7 == 0), -100)
        loss: Tensor = model(**{name: x.to(device) for name, x in given.items()}).loss
        return loss

    return model, call


def codebook(given: argparse.Namespace) -> Made:
    """lucidrains' VectorQuantize: 16,384 vectors of 256, 1,024 codes."""
    import vector_quantize_pytorch

    codes, rows, width = (16, 50, 8) if given.quick else (1024, 2048, 256)
    model = vector_quantize_pytorch.VectorQuantize(dim=width, codebook_size=codes)
    x = torch.randn(8, rows, width, generator=torch.Generator().manual_seed(0))

    def call(model: nn.Module, device: str) -> Tensor:
        quantised, _, loss = model(x.to(device).requires_grad_())
        return quantised.square().mean() + loss.sum()

    return model, call


def padding(batch: int, length: int, draw: torch.Generator) -> Tensor:
    """A mask (S, L) of booleans, True behind the end of each sequence; the first one is full."""
    lengths = torch.randint(length * 3 // 10, length + 1, (batch,), generator=draw)
    lengths[0] = length
    return torch.arange(length) >= lengths[:, None]


FAMILIES: dict[str, Callable[[argparse.Namespace], Made]] = {
    "TransformerEncoder": encoder,
    "Bert": bert,
    "VectorQuantize": codebook,
}
DETECTORS = ("Detr", "ConditionalDetr", "DeformableDetr", "DabDetr", "TableTransformer")
FAMILIES |= {name: partial(detector, name) for name in (*DETECTORS, "Yolos", "RTDetr", "RTDetrV2")}


if __name__ == "__main__":
    main()
