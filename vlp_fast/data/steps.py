"""Given steps, whoever decodes their pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from vlp_fast.data.encoded import EncodedReader
from vlp_fast.data.loader import Loader
from vlp_fast.data.order import Order

T = TypeVar("T")


def steps_of(
    *,
    order: Order,
    load: Callable[[int, int, int], Any],
    collate: Callable[[list[Any], int, int], T],
    reader: object,
    num_workers: int,
    steps: Sequence[int],
    device: torch.device,
) -> Iterator[tuple[int, T]]:
    """Iterate over (step, collated examples) for given steps.

    Args:
        order, load, collate, steps: as of `Loader`.
        reader: that `load` opens files with; DALI decodes what an `EncodedReader` leaves encoded.
        num_workers: loading processes, or DALI's threads.
        device: that the steps are for.

    Raises:
        InputError: if DALI is asked for and not there.
    """
    if not isinstance(reader, EncodedReader):
        loader: Loader[T] = Loader(
            order=order,
            load=load,
            collate=collate,
            num_workers=num_workers,
            steps=steps,
            pin_memory=device.type == "cuda",
        )
        return iter(loader)
    from vlp_fast.data.dali_loader import DaliLoader

    return DaliLoader(
        order=order,
        load=load,
        collate=collate,
        doubt=reader.doubted.add,
        threads=max(num_workers, 1),
        device=device,
        steps=steps,
    ).ahead()
