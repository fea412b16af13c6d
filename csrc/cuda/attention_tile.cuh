// What a block of attention works on: where its rows lie, and how they get to shared memory and back.
//
// A block is four warps. Sixteen rows of a tile of 64 are a warp's own, and the rows of the other side pass
// by in tiles that all four share. Lines of shared memory are as wide as a head, padded with zeros.
#pragma once

#include "cuda/rows.cuh"
#include "cuda/tensor_cores.cuh"
#include "dropout.h"

namespace vlp {

constexpr int kAttentionWarps = 4, kAttentionThreads = kAttentionWarps * kWarp;
constexpr int kOwnRows = kAttentionWarps * kFragment;  // of a block's tile

// Lines of shared memory: a fragment's rows lie in different banks.
template <int kWidth>
constexpr int kLinePitch = kWidth + 8;
template <int kColumns>
constexpr int kStripPitch = kColumns + 8;  // of a warp's sixteen rows of scores
constexpr float kLog2E = 1.44269504088896341f;
// Weights are at most 1: so many times as large, half precision holds them down to 2^-38.
constexpr float kWeightLift = 1 << 14;

// (T, N, E) half precision of any strides, the numbers of a head side by side.
struct HeadRows {
  uint16_t* data;
  int64_t row_stride, head_stride;
  bool is_aligned;  // segments lie on multiples of 16 bytes

  __device__ __forceinline__ int64_t place(int64_t row, int32_t head) const {
    return row * row_stride + head * head_stride;
  }
};

// S sequences of N heads; `tiles` blocks for the longest of them.
struct Attention {
  const int32_t *cu_queries, *cu_keys;  // (S + 1,)
  const int32_t* order;                 // (S,) or null: as they lie
  int32_t tiles, heads, width;
  bool is_causal;
  float scale;
  Dropout dropout;
};

// Rows of one sequence.
struct SequenceRows {
  int64_t first;
  int32_t length;

  __device__ __forceinline__ static SequenceRows of(const int32_t* bounds, int32_t sequence) {
    const int32_t first = read_only(bounds + sequence);
    return {first, read_only(bounds + sequence + 1) - first};
  }
};

// What one block does: blocks of the first sequence in order begin first.
struct Part {
  int32_t sequence, head;
  int32_t first;  // own row, from the start of the sequence
  SequenceRows queries, keys;
  int32_t shift;  // query i sees keys up to i + shift

  __device__ __forceinline__ explicit Part(const Attention& in) {
    const auto block = static_cast<int32_t>(blockIdx.x);
    const int32_t place = block / in.tiles / in.heads;
    sequence = in.order == nullptr ? place : read_only(in.order + place);
    head = block / in.tiles % in.heads;
    first = block % in.tiles * kOwnRows;
    queries = SequenceRows::of(in.cu_queries, sequence);
    keys = SequenceRows::of(in.cu_keys, sequence);
    shift = in.is_causal ? keys.length - queries.length : keys.length;
  }
  // The first key that a query does not see.
  __device__ __forceinline__ int32_t limit(int32_t query) const {
    return smaller(keys.length, query + 1 + shift);
  }
};

// Rows on their way from memory to shared memory, in the registers of a block's threads.
template <int kWidth, int kLines>
struct TileCopy {
  static constexpr int kPitch = kLinePitch<kWidth>;
  static constexpr int kAbreast = kWidth / kSegment;  // segments of a line
  static constexpr int kSegments = kLines * kAbreast / kAttentionThreads;
  static_assert(kLines * kAbreast % kAttentionThreads == 0, "every thread has as many segments");

  Segment<FloatKind::kHalf> segments[kSegments];

  __device__ __forceinline__ static int line(int i) {
    return (static_cast<int>(threadIdx.x) + i * kAttentionThreads) / kAbreast;
  }
  __device__ __forceinline__ static int column(int i) {
    return (static_cast<int>(threadIdx.x) + i * kAttentionThreads) % kAbreast * kSegment;
  }
  // Of a sequence, from its row `first` on; zeros beyond its end, whatever lies there.
  __device__ __forceinline__ void read(const HeadRows& rows, const SequenceRows& span, int32_t first,
                                       int32_t head, int32_t width) {
#pragma unroll
    for (int i = 0; i < kSegments; ++i) {
      const int32_t row = first + line(i), left = row < span.length ? width - column(i) : 0;
      segments[i].read(rows.data, rows.place(span.first + row, head) + column(i), 1, left, rows.is_aligned);
    }
  }
  __device__ __forceinline__ void write(uint16_t* lines) const {
#pragma unroll
    for (int i = 0; i < kSegments; ++i) {
      const uint32_t* words = segments[i].words;
      *reinterpret_cast<uint4*>(lines + line(i) * kPitch + column(i)) =
          uint4{words[0], words[1], words[2], words[3]};
    }
  }
};

}  // namespace vlp
