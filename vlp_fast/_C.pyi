from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

class BuildInfo(TypedDict):
    compiler: str
    pybind11: str
    dlpack_exchange_api: str
    cuda: str | None
    cuda_archs: list[str]
    cuda_note: str

def build_info() -> BuildInfo: ...
def assign(
    cost: Tensor,
    num_rows: Tensor | None,
    column_of_row: Tensor,
    status: Tensor,
    maximize: bool,
    threads: int,
) -> None: ...
def assign_array(
    cost: NDArray[np.float64], maximize: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]: ...
def match(
    predictions: dict[str, object],
    cu_targets: Tensor,
    query_of_target: Tensor,
    status: Tensor,
    threads: int,
) -> None: ...
def multiplies_brain() -> bool: ...
def centre_rows(
    x: Tensor, centre: Tensor, operand: Tensor, bounds: Tensor, threads: int
) -> None: ...
def multiplies_single() -> bool: ...
def multiply_rows(rows: Tensor, codes: Tensor, products: Tensor, threads: int) -> None: ...
def decide_rows(
    products: Tensor,
    bounds: Tensor,
    x: Tensor,
    codes: Tensor,
    terms: Tensor,
    valid: Tensor | None,
    excluded: int,
    rounding: float,
    indices: Tensor,
    threads: int,
) -> None: ...
def code_statistics(
    x: Tensor,
    indices: Tensor,
    num_codes: int,
    valid: Tensor | None,
    check_finite: bool,
    buffer: Tensor,
    threads: int,
) -> None: ...
def prepare_codes(
    codes: Tensor, operand: Tensor, terms: Tensor, centre: Tensor, threads: int
) -> None: ...
def ema_update(
    codes: Tensor,
    sums: Tensor,
    counts: Tensor,
    momentum: float,
    threads: int,
) -> None: ...
def laplace_ema_update(
    codes: Tensor,
    embed_avg: Tensor,
    cluster_size: Tensor,
    sums: Tensor,
    counts: Tensor,
    momentum: float,
    eps: float,
    threads: int,
) -> None: ...
def assign_cuda(
    cost: Tensor, num_rows: Tensor | None, column_of_row: Tensor, status: Tensor, maximize: bool
) -> None: ...
def fits_in_shared(rows: int, columns: int, device: int) -> bool: ...
def match_cuda(
    predictions: dict[str, object],
    cu_targets: Tensor,
    query_of_target: Tensor,
    status: Tensor,
    longest: int,
    scratch: Tensor | None,
) -> None: ...
def device_probe(tensor: Tensor) -> None: ...
def nearest_code_cuda(
    x: Tensor,
    codes: Tensor,
    operand: Tensor,
    terms: Tensor,
    centre: Tensor,
    valid: Tensor | None,
    excluded: int,
    indices: Tensor,
    doubtful: Tensor,
) -> None: ...
def attention_cuda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    order: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
    out: Tensor,
    lse: Tensor,
) -> None: ...
def attention_backward_cuda(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    order: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
    grad_q: Tensor,
    grad_k: Tensor,
    grad_v: Tensor,
    centres: Tensor,
) -> None: ...
def count_rows_cuda(
    x: Tensor,
    indices: Tensor,
    valid: Tensor | None,
    check_finite: bool,
    num_codes: int,
    blocks: int,
    code_of: Tensor,
    histogram: Tensor,
) -> None: ...
def sum_rows_cuda(
    x: Tensor,
    num_codes: int,
    blocks: int,
    code_of: Tensor,
    histogram: Tensor,
    ends: Tensor,
    order: Tensor,
    partial: Tensor,
    buffer: Tensor,
) -> None: ...
def add_rows_cuda(
    x: Tensor,
    valid: Tensor | None,
    indices: Tensor,
    num_codes: int,
    check_finite: bool,
    buffer: Tensor,
) -> None: ...
def prepare_codes_cuda(codes: Tensor, operand: Tensor, terms: Tensor, centre: Tensor) -> None: ...
def ema_update_cuda(
    codes: Tensor,
    sums: Tensor,
    counts: Tensor,
    momentum: float,
) -> None: ...
def laplace_ema_update_cuda(
    codes: Tensor,
    embed_avg: Tensor,
    cluster_size: Tensor,
    sums: Tensor,
    counts: Tensor,
    momentum: float,
    eps: float,
    total: Tensor,
) -> None: ...
