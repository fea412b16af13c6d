"""Which examples a figure is of: how many, and a hash of their ids.

Two figures can be compared if both are equal. The hash does not depend on order, and hashes of
parts add up to the hash of the whole, so processes need not send each other ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

BITS = 64


def set_hash(keys: Iterable[int | str]) -> str:
    """Hash ids, in any order; 7 and "7" are one id. One that comes twice counts twice.

    Returns:
        16 hexadecimal digits.
    """
    examples = ExampleSet()
    for key in keys:
        examples.add(key)
    return examples.hash


class ExampleSet:
    """Examples that were counted.

    Attributes:
        count: how many.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    @property
    def hash(self) -> str:
        """16 hexadecimal digits: the sum of a digest of each id, modulo 2**64."""
        return f"{self._sum:0{BITS // 4}x}"

    def add(self, key: int | str) -> None:
        """Count an example."""
        text = str(key).encode(errors="surrogatepass")
        digest = int.from_bytes(blake2b(text, digest_size=BITS // 8).digest(), "little")
        self.count += 1
        self._sum = (self._sum + digest) % 2**BITS

    def merge(self, other: ExampleSet) -> None:
        """Count what another process has counted."""
        self.count += other.count
        self._sum = (self._sum + other._sum) % 2**BITS

    def described(self, split: str) -> str:
        """What belongs to every printed figure.

        Example: "VQA val, 214,354 examples, set 0123456789abcdef".
        """
        return f"{split}, {self.count:,} examples, set {self.hash}"
