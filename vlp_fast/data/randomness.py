"""Counter-based randomness: every draw is a function of what it is for, never of what came before.

Resuming at any step, with any number of workers or processes, therefore repeats the same
augmentation and masking without saving the state of a generator.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np


def generator(seed: int, epoch: int, sample_id: int, purpose: str) -> np.random.Generator:
    """Make the generator of one (seed, epoch, sample, purpose).

    Example: `generator(0, epoch, index, "pairs").integers(5)` is the same number on every
    machine, in every process.

    Args:
        seed: of the run, any 64-bit integer.
        epoch: 0-based.
        sample_id: index of the sample in its data set (or of whatever the draw is about).
        purpose: separates independent draws about the same sample.

    Returns:
        A Philox generator, whose key is a 128-bit BLAKE2b digest of the four arguments.
    """
    message = struct.pack("<qqq", seed, epoch, sample_id) + purpose.encode()
    digest = hashlib.blake2b(message, digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
