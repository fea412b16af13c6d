"""What operators do with tensors as they come in: one device, autocast's dtype, no one twice."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def check_devices(function: str, *tensors: Tensor | None) -> None:
    """Refuse tensors that are not all on one device: kernels get addresses.

    Raises:
        ValueError: so.
    """
    devices = dict.fromkeys([tensor.device for tensor in tensors if tensor is not None])
    if len(devices) > 1:
        raise ValueError(
            f"{function}: received tensors on {', '.join(map(str, devices))}, expected one device; "
            "move them there by .to(device)"
        )


def autocast(*operands: Tensor) -> tuple[Tensor, ...]:
    """Return operands in the dtype of autocast where it is on; float64 is left alone."""
    device = operands[0].device.type
    if not is_autocast_on(device) or operands[0].dtype == torch.float64:
        return operands
    return tuple(x.to(torch.get_autocast_dtype(device)) for x in operands)


def no_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Return a context in which autocast reaches no work on x; where it is off, that does nothing.

    A region that is entered all the same is one that `torch.export` cannot save (torch 2.11).
    """
    device = x.device.type
    return torch.autocast(device, enabled=False) if is_autocast_on(device) else nullcontext()


def is_autocast_on(device_type: str) -> bool:
    """Return whether autocast is on; torch raises for "meta", which computes nothing."""
    return device_type != "meta" and torch.is_autocast_enabled(device_type)


def distinct(*operands: Tensor) -> tuple[Tensor, ...]:
    """Return views where one tensor comes as several operands.

    Of those of an `autograd.Function`, Dynamo keeps the gradient of the last only (PyTorch 2.11),
    or refuses them (2.14).
    """
    return tuple(
        x.view_as(x) if any(x is before for before in operands[:place]) else x
        for place, x in enumerate(operands)
    )
