"""Codes prepared for the search, kept as long as they are of the codes as they are."""

import torch
from torch import Tensor

from vlp_fast.ops import PreparedCodes, backend_for, prepare_codes

LONGEST_USE = 100
"""Updates after which codes are prepared around their mean again, from which they move away."""


class PreparedCache:
    """The prepared codes of a dictionary, made anew after any change but its own update.

    Whether the codes have changed is read off the version that PyTorch counts up for every tensor:
    loading a state or an assignment to a slice is seen, without a look at a value. Not counted, and
    not seen, are changes through `.data` and in-place collectives of `torch.distributed`.
    """

    def __init__(self) -> None:
        self._kept: PreparedCodes | None = None
        self._source: Tensor | None = None
        self._version = 0
        self._updates = 0

    def get(self, codes: Tensor, rows: Tensor) -> PreparedCodes | None:
        """Returns codes (K, D) prepared for rows (N, D); None where that would be of no use."""
        # Graphs and fake tensors must not leave anything behind; the reference wants nothing.
        if torch.compiler.is_compiling() or type(rows) is not Tensor or codes.is_inference():
            return None
        if backend_for("nearest_code", rows.device)[0] == "reference":
            return None
        is_fresh = self._source is codes and self._version == codes._version
        if self._kept is None or not is_fresh or self._updates >= LONGEST_USE:
            self._kept = prepare_codes(codes, rows.dtype)
            self._source, self._version, self._updates = codes, codes._version, 0
        return self._kept

    def has_moved(self, codes: Tensor) -> None:
        """Takes note that an update has moved codes (K, D) and prepared them in the same pass."""
        if self._source is codes:
            self._version = codes._version
            self._updates += 1

    def __getstate__(self) -> dict[str, object]:
        """Nothing that cannot be made anew is copied or pickled."""
        return PreparedCache().__dict__
