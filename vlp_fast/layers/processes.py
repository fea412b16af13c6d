"""What a dictionary needs of other processes; every function is right for a single one too."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup


class Processes:
    """The processes that train one dictionary together: a group of `torch.distributed`, or one.

    Asked at every use: a module is often built before the group is.

    Args:
        group: the default one if None.
        is_alone: never to speak to others.
    """

    def __init__(self, group: ProcessGroup | None = None, *, is_alone: bool = False) -> None:
        self._group = group
        self._is_alone = is_alone
        self._have_agreed = False

    @property
    def count(self) -> int:
        """Number of processes."""
        if self._is_alone or not dist.is_available() or not dist.is_initialized():
            return 1
        return dist.get_world_size(self._group)

    @property
    def rank(self) -> int:
        """This process's number among them."""
        return dist.get_rank(self._group) if self.count > 1 else 0

    def add_up(self, buffer: Tensor) -> dist.Work | None:
        """Starts to add a buffer of all processes up, in place; None if there is nothing to do."""
        return dist.all_reduce(buffer, group=self._group, async_op=True) if self.count > 1 else None

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Returns the (N, D) rows of all processes, in the order of their ranks; N may differ."""
        if self.count == 1:
            return rows
        length = torch.tensor([len(rows)], device=rows.device)
        lengths = [torch.empty_like(length) for _ in range(self.count)]
        dist.all_gather(lengths, length, group=self._group)
        sizes = [int(size) for size in lengths]
        padded = rows.new_zeros(max(sizes), rows.shape[1])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=self._group)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def gather_flags(self, flag: Tensor) -> list[bool]:
        """Returns a flag () of all processes, in the order of their ranks, on the host."""
        if self.count == 1:
            return [bool(flag)]
        number = flag.to(torch.int32).view(1)
        numbers = [torch.empty_like(number) for _ in range(self.count)]
        dist.all_gather(numbers, number, group=self._group)
        return [bool(number) for number in numbers]

    def agree(self, state: Iterable[Tensor]) -> None:
        """Makes the state of rank 0 that of all, in the first call that finds several processes.

        They may have drawn other codes, and nothing would ever tell: averages of the same
        statistics keep the codes apart that are seldom hit.
        """
        if self.count > 1 and not self._have_agreed:
            self._copy_all(state)
            self._have_agreed = True

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _copy_all(self, state: Iterable[Tensor]) -> None:
        for tensor in state:
            self.copy_from(0, tensor)

    def copy_from(self, rank: int, tensor: Tensor) -> None:
        """Overwrites a tensor by that of the process of a rank."""
        if self.count > 1:
            dist.broadcast(tensor, group=self._group, group_src=rank)

    def __deepcopy__(self, memo: dict[int, object]) -> "Processes":
        """A copy of a layer speaks to the same processes; groups themselves cannot be copied."""
        copied = Processes(self._group, is_alone=self._is_alone)
        copied._have_agreed = self._have_agreed
        return copied
