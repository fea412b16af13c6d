// What the gradients of attention keep in shared memory and compute once for each query;
// attention_backward.cuh has the algorithm.
#pragma once

#include "cuda/attention_products.cuh"

namespace vlp {

struct BackwardInput {
  Attention attention;
  HeadRows q, k, v, grad, out;
  const float* lse;     // (N, Tq)
  float* centres;       // (N, Tq), written by queries and read by keys
  int64_t num_queries;  // Tq
  HeadRows grad_q, grad_k, grad_v;
};

// What the weights of one query are made of.
struct __align__(16) QueryTerms {
  float lse;  // in units of ln 2
  float centre;
  uint32_t state;  // of its dropout
  int32_t limit;   // the first key that it does not see; 0 where there is no query
};

// Of a tile that passes by: more do not find room in the registers of wide heads.
template <int kWidth>
constexpr int kPassingRows = kWidth <= 64 ? 32 : 16;

// Rows of the other side that a block's own meet.
struct Range {
  int32_t begin, end;
};

// The two sides: whose rows are a block's own and whose pass by, whether any of a warp's sixteen rows meets
// any of a tile's `step`, and which way round a score is.
struct ByQueries {
  static constexpr bool kIsKeys = false;

  __device__ __forceinline__ static const HeadRows& own(const BackwardInput& in, int i) {
    return i == 0 ? in.q : in.grad;
  }
  __device__ __forceinline__ static const HeadRows& other(const BackwardInput& in, int i) {
    return i == 0 ? in.k : in.v;
  }
  __device__ __forceinline__ static const SequenceRows& own(const Part& part) { return part.queries; }
  __device__ __forceinline__ static const SequenceRows& other(const Part& part) { return part.keys; }
  __device__ __forceinline__ static Range range(const Part& part, int32_t) {
    return {0, part.limit(part.first + kOwnRows - 1)};
  }
  __device__ __forceinline__ static bool meet(const Part& part, int32_t row, int32_t other, int32_t) {
    return row < part.queries.length && other < part.limit(row + kFragment - 1);
  }
  __device__ __forceinline__ static int32_t query(int32_t row, int32_t) { return row; }
  __device__ __forceinline__ static int32_t key(int32_t, int32_t column) { return column; }
};
struct ByKeys {
  static constexpr bool kIsKeys = true;

  __device__ __forceinline__ static const HeadRows& own(const BackwardInput& in, int i) {
    return i == 0 ? in.k : in.v;
  }
  __device__ __forceinline__ static const HeadRows& other(const BackwardInput& in, int i) {
    return i == 0 ? in.q : in.grad;
  }
  __device__ __forceinline__ static const SequenceRows& own(const Part& part) { return part.keys; }
  __device__ __forceinline__ static const SequenceRows& other(const Part& part) { return part.queries; }
  __device__ __forceinline__ static Range range(const Part& part, int32_t step) {
    const int32_t first = larger(0, part.first - part.shift);  // who sees no earlier key
    return {first - first % step, part.queries.length};
  }
  __device__ __forceinline__ static bool meet(const Part& part, int32_t row, int32_t other, int32_t step) {
    return row < part.limit(other + step - 1);
  }
  __device__ __forceinline__ static int32_t query(int32_t, int32_t column) { return column; }
  __device__ __forceinline__ static int32_t key(int32_t row, int32_t) { return row; }
};

// Blocks that a processor of Volta has room for, registers (64 Ki) and shared memory (96 KiB) together.
constexpr int kBackwardBlocks = 2;

template <int kWidth>
struct BackwardTile {
  static constexpr int kPassing = kPassingRows<kWidth>;
  static constexpr int kPitch = kLinePitch<kWidth>;

  uint16_t own[2][kOwnRows * kPitch];  // queries and gradients, or keys and values
  uint16_t other[2][kPassing * kPitch];
  union Strip {
    uint16_t weights[kFragment * kStripPitch<kFragment>];
    float numbers[kFragment * kFragment];
  };
  Strip strips[kAttentionWarps];
  QueryTerms terms[kOwnRows];
};

static_assert(kBackwardBlocks * sizeof(BackwardTile<128>) <= 96 << 10, "not on Turing: one block there");
static_assert(kBackwardBlocks * sizeof(BackwardTile<64>) <= 64 << 10, "on Turing too");

// A power of two that lifts the gradients of a warp's scores to what half precision holds, however large or
// small the loss is scaled: the largest so far becomes 2^14 or somewhat more.
struct Lift {
  float factor = from_bits(254u << 23);  // of nothing yet

  // Returns what sums so far are to be multiplied by.
  __device__ __forceinline__ float fit(float largest) {
    uint32_t bits;
    memcpy(&bits, &largest, sizeof(bits));
    const uint32_t exponent = smaller(2 * 127 + 14 - (bits >> 23), 254u);
    const float wanted = fminf(factor, from_bits(exponent << 23));
    const float change = wanted / factor;
    factor = wanted;
    return change;
  }
};

__device__ __forceinline__ int64_t place_of(const BackwardInput& in, const Part& part, int32_t query) {
  return part.head * in.num_queries + part.queries.first + query;
}

__device__ __forceinline__ QueryTerms terms_of(const BackwardInput& in, const Part& part, int32_t query,
                                               float lse, float centre) {
  if (query >= part.queries.length) return {0, 0, 0, 0};
  return {lse * kLog2E, centre, in.attention.dropout.of_row(part.sequence, part.head, query),
          part.limit(query)};
}

// By two threads for each of a block's own queries, whose gradients are in shared memory.
template <int kWidth>
__device__ __forceinline__ void make_terms(const BackwardInput& in, const Part& part,
                                           BackwardTile<kWidth>& tile) {
  const int row = static_cast<int>(threadIdx.x) / 2, half = static_cast<int>(threadIdx.x) % 2;
  const int32_t query = part.first + row;
  const bool is_there = query < part.queries.length;
  float centre = 0;
  for (int column = half * kSegment; column < kWidth; column += 2 * kSegment) {
    Segment<FloatKind::kHalf> out;
    const int64_t place = in.out.place(part.queries.first + query, part.head) + column;
    out.read(in.out.data, place, 1, is_there ? in.attention.width - column : 0, in.out.is_aligned);
#pragma unroll
    for (int i = 0; i < kSegment; ++i)
      centre += out.value(i) * half_value(tile.own[1][row * tile.kPitch + column + i]);
  }
  centre += __shfl_xor_sync(kAllLanes, centre, 1);
  if (half != 0) return;
  const int64_t place = place_of(in, part, query);
  tile.terms[row] = terms_of(in, part, query, is_there ? read_only(in.lse + place) : 0, centre);
  if (is_there) in.centres[place] = centre;
}

}  // namespace vlp
