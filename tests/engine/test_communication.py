"""What of a profile is sending: made up of spans, on a GPU and on a CPU."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from vlp_fast.engine.communication import communication


@dataclass(frozen=True)
class Event:
    name: str
    start: float
    end: float
    device: str = "CPU"
    is_user_annotation: bool = False

    @property
    def time_range(self) -> SimpleNamespace:
        return SimpleNamespace(start=self.start, end=self.end)

    @property
    def device_type(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.device)


def test_on_a_cpu_operators_hide_what_is_sent() -> None:
    found = communication(
        [
            Event("backward", 0, 10_000),
            Event("aten::mm", 0, 3_000),
            Event("gloo:all_reduce", 2_000, 5_000),
            Event("gloo:all_reduce", 4_000, 6_000),
            Event("aten::add", 5_500, 5_700),
            Event("vlp_fast::attention", 7_000, 10_000),
            Event("ncclDevKernel_AllReduce", 0, 10_000, "CUDA"),
        ],
        is_gpu=False,
    )
    assert found is not None
    assert (found.sending, found.watched) == (4, 10)
    assert found.exposed == pytest.approx(4 - 1 - 0.2)
    sending, exposed = found.lines(2).splitlines()
    assert sending.endswith("2.0 ms a step, 40.0 %")
    assert exposed.endswith("1.4 ms a step, 28.0 %")


def test_on_a_gpu_other_kernels_do() -> None:
    found = communication(
        [
            Event("aten::mm", 0, 100_000),
            Event("sgemm", 0, 4_000, "CUDA"),
            Event("ncclDevKernel_AllReduce_Sum_f32", 3_000, 8_000, "CUDA"),
            Event("elementwise", 7_500, 10_000, "CUDA"),
            Event("backward", 0, 11_000, "CUDA", is_user_annotation=True),
            Event("nccl:all_reduce", 2_000, 9_000, "CUDA", is_user_annotation=True),
        ],
        is_gpu=True,
    )
    assert found is not None
    assert (found.sending, found.exposed, found.watched) == (5, 3.5, 10)


def test_one_process_sends_nothing() -> None:
    assert communication([Event("aten::mm", 0, 1)], is_gpu=False) is None
    assert communication([], is_gpu=True) is None
