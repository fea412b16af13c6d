"""Whether attention of the models that come with the package is where the thing is.

    vlp-fast data make-world WORLD --images 1000 --seed 90 --bounds small
    OMP_NUM_THREADS=1 python experiments/attention_inside.py WORLD --images 50

Printed are, by layer, the mean over heads and the best head, in percent: of what a word that names
a thing looks at in the picture, the share inside of the thing's boxes; that of the other words of
the text inside of the same boxes; and the boxes' share of the picture, which attention that knows
nothing would have. Of E2E-VLP the same of the queries that found objects, by their own boxes.
"""

import argparse
from pathlib import Path

import torch

import vlp_fast
from vlp_fast.data.examples import Example
from vlp_fast.data.sources.drawn_world import load_drawn_world
from vlp_fast.data.subsample import subsample
from vlp_fast.inference.pictures import open_picture
from vlp_fast.ops.boxes import xyxy_to_cxcywh
from vlp_fast.viz.inside import Inside, queries_inside, words_inside

MODELS = ("e2e_vlp_small_world", "soho_small_world")


def main() -> None:
    """Measure both, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", type=Path)
    parser.add_argument("--images", type=int, default=50)
    options = parser.parse_args()
    for name in MODELS:
        model = vlp_fast.load(name, device="cpu")
        pictures, names = drawings(model, options.world, options.images)
        texts = [(example, text) for example in pictures for text in example.captions]
        tell(f"{name}: words", words_inside(model, texts, names))
        if "detect" in model.abilities:
            alone = [(example, None) for example in pictures]
            tell(f"{name}: queries", queries_inside(model, alone, 0.5))


def drawings(
    model: vlp_fast.Predictor, world: Path, count: int
) -> tuple[list[Example], tuple[str, ...]]:
    """Held-out drawings as the model is shown them, with their boxes and captions."""
    (held_out,) = load_drawn_world(world, ["val"], missing_images="error")
    found = []
    for index in subsample(held_out.units(), count):
        record = held_out.records[index]
        picture = open_picture(record.path, model.trained.about.data).example
        size = torch.tensor([record.width, record.height] * 2)
        boxes = xyxy_to_cxcywh(torch.from_numpy(record.boxes) / size)
        said = {"labels": torch.from_numpy(record.labels), "captions": record.captions}
        found.append(Example(**(vars(picture) | said | {"boxes": boxes})))
    return found, held_out.class_names


def tell(what: str, found: Inside | None) -> None:
    """Print what was measured."""
    assert found is not None
    print(f"{what}: {found.count}, boxes cover {100 * found.area:.1f} %")
    for layer, shares in enumerate(found.inside):
        others = "" if found.others is None else f", others {100 * found.others[layer].mean():.1f}"
        seen = 100 * found.on_picture[layer].mean()
        print(
            f"  layer {layer + 1}: inside {100 * shares.mean():.1f}, best head "
            f"{100 * shares.max():.1f}{others}; on the picture {seen:.1f}"
        )


if __name__ == "__main__":
    main()
