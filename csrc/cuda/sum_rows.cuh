// Sums of the rows of each code, in an order that their number and their own order alone decide: pieces of
// 128 rows from the first one on, then piece after piece.
//
// A code with more than a piece's rows is heavy: its pieces are summed by blocks of their own and wait in
// `partial`. Cut the sorted rows into windows of 128. In a window begins at most one heavy code, and at most
// one other piece of a heavy code: so window w has the slots 2w and 2w + 1, and nobody needs to count pieces.
#pragma once

#include "cuda/sort_rows.cuh"

namespace vlp {

constexpr int kSumThreads = 128;
constexpr int64_t kPiece = 128;  // rows

struct Sums {
  float* partial;         // (slots, D)
  float* out;             // K * D sums, K counts, how many rows are not finite
  int32_t width, slices;  // kSumThreads columns each
};

// Slot of the piece that begins with this sorted row.
VLP_HOST_DEVICE int64_t slot_of(int64_t first, bool is_first_piece) {
  return 2 * (first / kPiece) + (is_first_piece ? 1 : 0);
}

// Of one column of sorted rows.
__device__ __forceinline__ float column_sum(const Rows& rows, const Sorting& sorting, int64_t first,
                                            int64_t end, int32_t column) {
  float sum = 0;
#pragma unroll 4
  for (int64_t place = first; place < end; ++place)
    sum += load<float>(rows.data, rows.kind, rows.place(sorting.order[place], column));
  return sum;
}

// Of a sorted row: where its code begins and ends.
struct Span {
  int64_t first, end;

  __device__ __forceinline__ static Span around(const Sorting& sorting, int64_t place) {
    const int32_t code = sorting.code_of[sorting.order[place]];
    return {sorting.start(code), sorting.start(code + 1)};
  }
  VLP_HOST_DEVICE bool is_heavy() const { return end - first > kPiece; }
};

// A block for each slot and slice of columns.
__global__ void __launch_bounds__(kSumThreads)
    sum_pieces_kernel(const Rows rows, const Sorting sorting, const Sums sums) {
  const int64_t slot = blockIdx.x / sums.slices, window = slot / 2 * kPiece, total = sorting.num_rows();
  const auto column = static_cast<int32_t>(blockIdx.x % sums.slices * kSumThreads + threadIdx.x);
  if (window >= total || column >= sums.width) return;
  const bool is_first = slot % 2 == 1;
  // A heavy code that begins in the window reaches beyond it; any other has the window's first row already.
  const Span span = Span::around(sorting, is_first ? smaller(window + kPiece, total) - 1 : window);
  if (!span.is_heavy()) return;
  const int64_t gone = (window - span.first + kPiece - 1) / kPiece * kPiece;
  const int64_t first = is_first ? span.first : span.first + gone;
  if (is_first ? first < window : first >= span.end || gone == 0) return;
  const float sum = column_sum(rows, sorting, first, smaller(first + kPiece, span.end), column);
  sums.partial[slot * sums.width + column] = sum;
}

__device__ __forceinline__ float sum_of_pieces(const Sums& sums, const Span& span, int32_t column) {
  double sum = 0;
#pragma unroll 4
  for (int64_t first = span.first; first < span.end; first += kPiece)
    sum += sums.partial[slot_of(first, first == span.first) * sums.width + column];
  return static_cast<float>(sum);
}

// A block for each code and slice of columns.
__global__ void __launch_bounds__(kSumThreads)
    sum_rows_kernel(const Rows rows, const Sorting sorting, const Sums sums) {
  const auto code = static_cast<int32_t>(blockIdx.x / sums.slices);
  const auto column = static_cast<int32_t>(blockIdx.x % sums.slices * kSumThreads + threadIdx.x);
  const Span span{sorting.start(code), sorting.start(code + 1)};
  const int64_t numbers = static_cast<int64_t>(sorting.num_codes) * sums.width;
  if (column == 0) {
    sums.out[numbers + code] = static_cast<float>(span.end - span.first);
    if (code == 0) sums.out[numbers + sorting.num_codes] = static_cast<float>(*sorting.non_finite());
  }
  if (column >= sums.width) return;
  sums.out[static_cast<int64_t>(code) * sums.width + column] =
      span.is_heavy() ? sum_of_pieces(sums, span, column)
                      : column_sum(rows, sorting, span.first, span.end, column);
}

// In the order in which the threads come: a warp for each row, into zeros.
template <bool kLooks>
__global__ void __launch_bounds__(kCountThreads)
    add_rows_kernel(const Rows rows, const int64_t* indices, const int32_t num_codes, float* out) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kCountThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= rows.count || !rows.is_valid(row)) return;
  const int64_t index = indices[row], numbers = static_cast<int64_t>(num_codes) * rows.width;
  const bool is_good = kLooks ? rows.is_finite_row(row) : index >= 0;
  const int32_t lane = threadIdx.x % kWarp;
  if (is_good && (index < 0 || index >= num_codes)) return;
  if (lane == 0) atomicAdd(out + numbers + (is_good ? index : num_codes), 1.f);
  if (!is_good) return;
  for (int32_t d = lane; d < rows.width; d += kWarp)
    atomicAdd(out + index * rows.width + d, load<float>(rows.data, rows.kind, rows.place(row, d)));
}

}  // namespace vlp
