"""What the predictor adds to a model's own pass, a picture at a time and in batches.

    OMP_NUM_THREADS=1 python experiments/predictor_speed.py e2e_vlp_small_world PICTURES...

Plain is `see`, `read` and the matching head on pictures that are decoded and batched already;
ours is `match` from paths to probabilities. They take turns; printed are medians in ms a picture.

`--groups 1 4 16 64` prints CPU ms a picture of what the model says unasked, as many pictures at a
time. `--tables` prints CPU ms of what is made anew at each call and could be kept.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import vlp_fast
from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.ops.dictionary_host import prepare_codes
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing
from vlp_fast.tasks.images import batch_images

TEXT = "there are two objects"


def main() -> None:
    """Time both in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--groups", type=int, nargs="+", default=[])
    parser.add_argument("--tables", action="store_true")
    options = parser.parse_args()
    model = vlp_fast.load(options.model, device="cpu")
    if options.groups:
        print_groups(model, options.pictures, options.groups)
    elif options.tables:
        print_tables()
    else:
        print_beside_plain(model, options.pictures, options.repeats)


def print_beside_plain(model: vlp_fast.Predictor, pictures: list[str], repeats: int) -> None:
    """The predictor beside the plain pass, by the clock."""
    for count in (1, len(pictures)):
        paths = pictures[:count]
        ways = {
            "plain": plain(model, paths),
            "predictor": lambda paths=paths: model.match(paths, TEXT),
        }
        times = in_turn(ways, repeats)
        line = "  ".join(f"{name} {1e3 * time / count:.2f}" for name, time in times.items())
        print(f"{count} pictures: {line}  ({times['predictor'] / times['plain']:.3f})")


def print_groups(model: vlp_fast.Predictor, paths: list[str], sizes: list[int]) -> None:
    """CPU time of captions, objects or matches, by how many pictures are asked about together."""
    opened = model._opened(paths)
    asks: dict[str, Callable[..., object]] = {
        "caption": model.caption,
        "detect": model.detect,
        "match": lambda pictures: model.match(pictures, [TEXT, "a red star"]),
    }
    for name in [name for name in asks if name in model.abilities]:
        asks[name](opened[:2])
        for size in sizes:
            cuts = [opened[start : start + size] for start in range(0, len(opened), size)]
            spent = cpu_ms(lambda: [asks[name](cut) for cut in cuts])  # noqa: B023
            print(f"{name}, {size} at a time: {spent / len(opened):.2f} CPU ms a picture")


def print_tables() -> None:
    """CPU time of SOHO's 2,048 codes made ready to be searched, and of sines for 800x1333."""
    codes, grid = torch.randn(2048, 768), make_grid([(25, 42)], (25, 42))
    ways = {
        "codes": lambda: prepare_codes(codes, codes.mean(0), torch.float32),
        "sines": lambda: SinePosition(256).table(grid),
    }
    for name, way in ways.items():
        print(f"{name}: {cpu_ms(lambda: [way() for _ in range(30)]) / 30:.3f} CPU ms")  # noqa: B023


def cpu_ms(work: Callable[[], object]) -> float:
    """Of this process, the second time."""
    work()
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


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
