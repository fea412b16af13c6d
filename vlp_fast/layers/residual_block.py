"""Residual blocks and the frozen norm: the parts of the ResNet, under torchvision's names.

Each block takes the padding of its input, True on padding and broadcastable to it, or None. With
padding given, the input of every spatial convolution is zeroed there, so that a valid cell sees the
zeros that it would see at the border of its own image (`backbone.py` says why).
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrozenNorm(nn.Module):
    """Batch norm whose statistics and affine parameters are buffers that nothing trains.

    The state of torchvision's `FrozenBatchNorm2d` in one fused call, which leaves half-precision
    maps in half precision (that one multiplies by float32 buffers). In training it keeps no map
    for the backward pass, as `F.batch_norm` would, for which all but the CNN's frozen part was
    twice as large (E2E-VLP R50/6, two pictures of 608 x 1100 pixels: 1,484 MiB instead of 748).
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_load_state_dict_pre_hook(_drop_step_counter)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Computes (x - mean) / sqrt(var + eps) * weight + bias of (B, C, H, W), in x's dtype."""
        fixed = (self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        if torch.is_grad_enabled() and x.requires_grad:
            out: Tensor = _FrozenNorm.apply(x, *fixed)  # type: ignore[no-untyped-call]
            return out
        return _normed(x, *fixed)


class _FrozenNorm(torch.autograd.Function):
    """The norm, whose gradient is a factor a channel; differentiable any number of times."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        return _normed(x, mean, var, weight, bias, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, mean, var, weight, _, ctx.eps = inputs
        ctx.save_for_backward(mean, var, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        mean, var, weight = ctx.saved_tensors
        # The kernel of F.batch_norm's own backward pass. It asks for the input, which with fixed
        # statistics decides nothing but the layout; the gradient stands in for it.
        unsaved = mean.new_empty(0)
        options = (unsaved, unsaved, False, ctx.eps, [True, False, False])
        of_x = torch.ops.aten.native_batch_norm_backward(grad, grad, weight, mean, var, *options)
        return of_x[0], None, None, None, None, None


def _normed(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    return F.batch_norm(x, mean, var, weight, bias, eps=eps)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    expansion = 1

    def __init__(
        self, channels: int, width: int, stride: int, make_norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = make_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = make_norm(width)
        self.stride = stride
        self.downsample = _shortcut(channels, width, stride, make_norm)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Maps (B, C, H, W) to (B, width, ceil(H / stride), ceil(W / stride)); True on padding."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn1(self.conv1(zero_padding(x, padding))).relu_()
        out = zero_padding(out, halve_padding(padding) if self.stride == 2 else padding)
        out = self.bn2(self.conv2(out))
        return cast(Tensor, (out + shortcut).relu_())


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, with a shortcut; the 3x3 carries the stride."""

    expansion = 4

    def __init__(
        self, channels: int, width: int, stride: int, make_norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = make_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = make_norm(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = make_norm(width * self.expansion)
        self.downsample = _shortcut(channels, width * self.expansion, stride, make_norm)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Maps (B, C, H, W) to (B, 4 width, ceil(H / stride), ceil(W / stride))."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn1(self.conv1(x)).relu_()
        out = self.bn2(self.conv2(zero_padding(out, padding))).relu_()
        out = self.bn3(self.conv3(out))
        return cast(Tensor, (out + shortcut).relu_())


class Stage(nn.Sequential):
    """Blocks of one width; the first carries the stride."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        channels: int,
        width: int,
        depth: int,
        stride: int,
        make_norm: Callable[[int], nn.Module],
    ) -> None:
        inner = width * block.expansion
        rest = [block(inner, width, 1, make_norm) for _ in range(depth - 1)]
        super().__init__(block(channels, width, stride, make_norm), *rest)
        self.stride = stride

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:  # type: ignore[override]
        for number, block in enumerate(self):
            x = block(x, padding)
            if number == 0 and self.stride == 2:
                padding = halve_padding(padding)
        return x


def _shortcut(
    channels: int, out_channels: int, stride: int, make_norm: Callable[[int], nn.Module]
) -> nn.Sequential | None:
    if stride == 1 and channels == out_channels:
        return None
    convolution = nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(convolution, make_norm(out_channels))


def _drop_step_counter(
    module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Lets a frozen norm load the state of an ordinary one, which counts its steps."""
    state.pop(f"{prefix}num_batches_tracked", None)


def zero_padding(x: Tensor, padding: Tensor | None) -> Tensor:
    """Returns x with zeros where padding is True, in its layout; x itself where it is None."""
    # `masked_fill` would return channels-last maps channels first.
    return x if padding is None else torch.where(padding, 0.0, x)


def halve_padding(padding: Tensor | None) -> Tensor | None:
    """Cell i of the halved map is valid iff cell 2i is, so lengths round up as convolutions do."""
    return None if padding is None else padding[..., ::2, ::2]
