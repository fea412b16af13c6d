"""What the predictor adds to a model's own pass, a picture at a time and in batches.

    OMP_NUM_THREADS=1 python experiments/predictor_speed.py e2e_vlp_small_world PICTURES...

Plain is `see`, `read` and the matching head on pictures that are decoded and batched already;
ours is `match` from paths to probabilities. They take turns; printed are medians in ms a picture.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import vlp_fast
from vlp_fast.ops.packing import make_packing
from vlp_fast.tasks.images import batch_images

TEXT = "there are two objects"


def main() -> None:
    """Time both in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    model = vlp_fast.load(options.model, device="cpu")
    for count in (1, len(options.pictures)):
        paths = options.pictures[:count]
        ways = {
            "plain": plain(model, paths),
            "predictor": lambda paths=paths: model.match(paths, TEXT),
        }
        times = in_turn(ways, options.repeats)
        line = "  ".join(f"{name} {1e3 * time / count:.2f}" for name, time in times.items())
        print(f"{count} pictures: {line}  ({times['predictor'] / times['plain']:.3f})")


def plain(model: vlp_fast.Predictor, paths: list[str]) -> Callable[[], object]:
    """The model's own pass on pictures that are ready."""
    trained = model.trained
    examples = [opened.example for opened in model._opened(paths)]
    ids = trained.tokenizer.encode(TEXT, trained.about.data.max_text_length)
    images, sizes, grid = batch_images(examples, trained.model)
    packing = make_packing([len(ids)] * len(paths), range(len(paths)), grid)
    text_ids = torch.tensor(ids * len(paths))

    @torch.inference_mode()
    def run() -> object:
        seen = trained.model.see(images, grid, sizes, codes=trained.codes)
        rows = trained.model.read_first(text_ids, seen, grid, packing)
        return trained.model.match_logits(rows)

    return run


def in_turn(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):  # the first one warms up
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


if __name__ == "__main__":
    main()
