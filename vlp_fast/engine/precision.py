"""Which number format a step computes in, on which device."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch.amp.grad_scaler import GradScaler

from vlp_fast.engine.config import TrainConfig
from vlp_fast.engine.peaks import peak_of
from vlp_fast.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Device, autocast type, and whether losses are scaled.

    Matching costs, set losses, dictionary distances and their moving averages compute in
    float32 inside their operators, whatever the autocast type.
    """

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[None]:
        """The context of forward and loss."""
        return torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        )

    def scaler(self) -> GradScaler:
        """Loss scaling for fp16; with scale 1 elsewhere, to skip non-finite steps on device."""
        return GradScaler(self.device.type, init_scale=65536.0 if self.is_scaled else 1.0)

    @property
    def is_scaled(self) -> bool:
        """Whether the scale moves; elsewhere it is set back to 1 after each step."""
        return self.dtype == torch.float16

    @property
    def peak(self) -> float | None:
        """TFLOP/s that the device reaches at most in this format, where that is known."""
        if self.device.type != "cuda":
            return None
        return peak_of(torch.cuda.get_device_name(self.device), self.dtype)


def choose_precision(config: TrainConfig) -> Precision:
    """Resolve `auto` by what the machine computes in.

    Raises:
        InputError: if a GPU is asked for and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--train.device cuda: torch sees no GPU; use cpu, or ask `vlp-fast doctor` why"
        )
    is_gpu = config.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if is_gpu else "cpu")
    names = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if config.precision != "auto":
        return Precision(device=device, dtype=names[config.precision])
    if is_gpu:
        has_bf16 = torch.cuda.get_device_capability()[0] >= 8
        return Precision(device=device, dtype=torch.bfloat16 if has_bf16 else torch.float16)
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return Precision(device=device, dtype=torch.bfloat16 if has_bf16 else torch.float32)
