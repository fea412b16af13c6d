// A stable counting sort of rows by their code: how many rows of each code a block of rows has, and where
// each row goes once these numbers are added up, code after code and block after block.
#pragma once

#include "cuda/rows.cuh"

namespace vlp {

constexpr int kCountThreads = 256;

// Rows dealt out to blocks, and what is known of each code in each of them.
struct Sorting {
  const int64_t* indices;  // (N,), as given
  int32_t* code_of;        // (N,), -1 where a row does not count
  int32_t* histogram;      // (K, blocks), and how many valid rows are not finite
  const int64_t* ends;     // (K * blocks,): the histogram added up
  int64_t* order;          // rows by code
  int32_t num_codes, blocks;
  int64_t rows_per_block;

  VLP_HOST_DEVICE int64_t cell(int32_t code, int32_t block) const {
    return static_cast<int64_t>(code) * blocks + block;
  }
  VLP_HOST_DEVICE int32_t* non_finite() const { return histogram + cell(num_codes, 0); }
  // Rows of all codes before this one.
  VLP_HOST_DEVICE int64_t start(int32_t code) const { return code == 0 ? 0 : ends[cell(code, 0) - 1]; }
  VLP_HOST_DEVICE int64_t num_rows() const { return start(num_codes); }
};

// The code that a row counts for, or -1. Without a look at the row: who looked before left a negative index.
__device__ __forceinline__ int32_t code_to_count(const Sorting& sorting, bool is_valid, bool is_good,
                                                 int64_t index) {
  if (is_valid && !is_good) atomicAdd(sorting.non_finite(), 1);
  return is_valid && is_good && index >= 0 && index < sorting.num_codes ? static_cast<int32_t>(index) : -1;
}

__device__ __forceinline__ void count_row(const Sorting& sorting, int64_t row, int32_t code) {
  sorting.code_of[row] = code;
  if (code >= 0) atomicAdd(sorting.histogram + sorting.cell(code, blockIdx.x), 1);
}

// A warp for each row where rows are looked at, a thread where they are not.
template <bool kLooks>
__global__ void __launch_bounds__(kCountThreads) count_rows_kernel(const Rows rows, const Sorting sorting) {
  constexpr int kThreadsOfRow = kLooks ? kWarp : 1;
  const int64_t first = blockIdx.x * sorting.rows_per_block;
  const int64_t end = smaller(first + sorting.rows_per_block, rows.count);
  for (int64_t row = first + threadIdx.x / kThreadsOfRow; row < end; row += kCountThreads / kThreadsOfRow) {
    const bool is_valid = rows.is_valid(row);
    const int64_t index = sorting.indices[row];
    const bool is_good = kLooks ? rows.is_finite_row(row) : index >= 0;
    if (threadIdx.x % kThreadsOfRow == 0)
      count_row(sorting, row, code_to_count(sorting, is_valid, is_good, index));
  }
}

// One warp for each block of rows, 32 rows at a time, in their order. What the histogram has left says how
// many of a code's rows in this block still come.
__global__ void __launch_bounds__(kWarp) scatter_rows_kernel(const int64_t count, const Sorting sorting) {
  const int64_t first = blockIdx.x * sorting.rows_per_block;
  const int64_t end = smaller(first + sorting.rows_per_block, count);
  const auto lane = static_cast<int32_t>(threadIdx.x);
  for (int64_t start = first; start < end; start += kWarp) {
    const int64_t row = start + lane;
    const int32_t code = row < end ? sorting.code_of[row] : -1;
    const unsigned peers = __match_any_sync(kAllLanes, code);
    const int rank = __popc(peers & ((1u << lane) - 1)), leader = __ffs(static_cast<int>(peers)) - 1;
    int64_t place = 0;
    if (code >= 0 && lane == leader) {
      const int64_t cell = sorting.cell(code, blockIdx.x);
      const int32_t left = sorting.histogram[cell];
      sorting.histogram[cell] = left - __popc(peers);
      place = sorting.ends[cell] - left;
    }
    place = __shfl_sync(kAllLanes, place, leader);
    if (code >= 0) sorting.order[place + rank] = row;
    __syncwarp();
  }
}

}  // namespace vlp
