from typing import TypedDict

from torch import Tensor

class BuildInfo(TypedDict):
    compiler: str
    pybind11: str
    dlpack_exchange_api: str
    cuda: str | None
    cuda_archs: list[str]
    cuda_note: str

def build_info() -> BuildInfo: ...
def linear_sum_assignment(cost: Tensor, row_to_col: Tensor) -> None: ...
def device_probe(tensor: Tensor) -> None: ...
