"""Files of pictures by their names in a data set's folder, made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.store.packed import PackedPictures
from vlp_fast.data.store.texts import Texts


@dataclass(frozen=True, eq=False)
class StoredFiles(Sequence[PictureFile]):
    """An immutable sequence of files.

    Attributes:
        root: folder of the data set.
        names: of n files, relative to it.
        is_packed: (n,) bool, whether a file is in a shard.
        packed: the shards.
    """

    root: Path
    names: Texts
    is_packed: np.ndarray
    packed: PackedPictures

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> PictureFile: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PictureFile]: ...
    def __getitem__(self, index: int | slice) -> PictureFile | Sequence[PictureFile]:
        """A file, or a list of them.

        Raises:
            KeyError: if it is in no shard any more.
        """
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        name = self.names[index]
        if not self.is_packed[index]:
            return self.root / name
        found = self.packed.find(name)
        if found is None:
            raise KeyError(name)
        return found
