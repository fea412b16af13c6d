"""What a forward pass changes besides gradients: statistics of batch norm, the visual dictionary.

Until the optimisers move, a step has changed nothing else that a checkpoint holds. With a copy of
these from before it, the state after the last whole step can still be saved when it fails.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from vlp_fast.engine.finite import still_finite


class KeptBuffers:
    """A copy of a model's buffers on their device; no method waits for it.

    Args:
        model: whose buffers stay the same objects.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
        for buffer in model.buffers():
            kinds[buffer.device, buffer.dtype].append(buffer)
        # By kind, so that a GPU copies each in a few launches: a ResNet-50 has 159 buffers.
        self._pairs = [(group, [b.clone() for b in group]) for group in kinds.values()]
        self._is_kept = False

    def keep(self) -> None:
        """Copy the buffers: a step begins."""
        with torch.no_grad():
            for group, copies in self._pairs:
                torch._foreach_copy_(copies, group)
        self._is_kept = True

    def forget(self) -> None:
        """Let the buffers be as they are: the step is whole."""
        self._is_kept = False

    def are_sound(self) -> Tensor:
        """Whether the step has left finite what was finite, () bool on the device."""
        flags = [
            still_finite(copies, group)
            for group, copies in self._pairs
            if group[0].is_floating_point()
        ]
        return torch.stack(flags).all() if flags else torch.tensor(True)

    def put_back_unless(self, is_kept: Tensor) -> None:
        """Take back what the step has changed where `is_kept`, () bool on the device, is False."""
        with torch.no_grad():
            for group, copies in self._pairs:
                pairs = zip(group, copies, strict=True)
                torch._foreach_copy_(group, [torch.where(is_kept, *pair) for pair in pairs])

    def put_back(self) -> None:
        """Take back what a step that began has changed; nothing if none did."""
        if not self._is_kept:
            return
        self._model.eval()  # a dictionary's update that is on its way comes now, not later
        with torch.no_grad():
            for group, copies in self._pairs:
                torch._foreach_copy_(group, copies)
        self._is_kept = False
