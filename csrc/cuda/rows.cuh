// Rows of any dtype and layout as the dictionary's kernels read them: eight neighbours at a time, or one.
#pragma once

#include <cuda_fp16.h>

#include "any_float.h"
#include "cuda/warp.cuh"

namespace vlp {

constexpr int kSegment = 8;         // neighbours that a thread moves at once
constexpr float kMostHalf = 65504;  // the largest finite number of half precision

// (N, D) numbers and which rows of them count; 64-bit offsets throughout.
struct Rows {
  const void* data;
  FloatKind kind;
  int64_t count, row_stride, column_stride;
  int32_t width;
  bool are_aligned;            // neighbours lie side by side, and segments on multiples of 16 bytes
  const unsigned char* valid;  // bools; null: all
  int64_t valid_stride;

  __device__ __forceinline__ bool is_valid(int64_t row) const {
    return valid == nullptr || read_only(valid + row * valid_stride) != 0;
  }
  __device__ __forceinline__ int64_t place(int64_t row, int32_t column) const {
    return row * row_stride + column * column_stride;
  }
  template <FloatKind kKind>
  __device__ __forceinline__ float at(int64_t row, int32_t column) const {
    return load<float>(data, kKind, place(row, column));
  }
  // By one warp.
  __device__ __forceinline__ bool is_finite_row(int64_t row) const {
    bool is_good = true;
    for (int32_t d = threadIdx.x % kWarp; d < width; d += kWarp)
      is_good &= is_finite(load<float>(data, kind, place(row, d)));
    return __all_sync(kAllLanes, is_good);
  }
};

__device__ __forceinline__ uint32_t half_bits(float value) {
  return __half_as_ushort(__float2half_rn(value));
}
__device__ __forceinline__ float half_value(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
}
__device__ __forceinline__ float within_half(float value) {
  return fminf(fmaxf(value, -kMostHalf), kMostHalf);
}

__device__ __forceinline__ void load_four(const void* place, uint32_t* words) {
  const uint4 four = read_only(static_cast<const uint4*>(place));
  words[0] = four.x;
  words[1] = four.y;
  words[2] = four.z;
  words[3] = four.w;
}

// Eight neighbours of a row as they lie in memory; zeros beyond its end.
template <FloatKind kKind>
struct Segment {
  static constexpr bool kIsHalf = kKind == FloatKind::kHalf;
  static constexpr int kBytes = kKind == FloatKind::kSingle ? 4 : 2;
  static constexpr int kWords = kSegment * kBytes / 4;

  uint32_t words[kWords];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = 0;
  }
  // `first` is the segment's first number of `left` that the row still has.
  __device__ __forceinline__ void read(const void* data, int64_t first, int64_t stride, int32_t left,
                                       bool is_aligned) {
    const char* bytes = static_cast<const char*>(data);
    if (is_aligned && left >= kSegment) {
#pragma unroll
      for (int i = 0; i < kWords; i += 4) load_four(bytes + first * kBytes + i * 4, words + i);
      return;
    }
    clear();
#pragma unroll
    for (int i = 0; i < kSegment; ++i) {
      if (i >= left) continue;
      const char* place = bytes + (first + i * stride) * kBytes;
      if constexpr (kBytes == 4)
        words[i] = read_only(reinterpret_cast<const uint32_t*>(place));
      else
        words[i / 2] |= static_cast<uint32_t>(read_only(reinterpret_cast<const uint16_t*>(place)))
                        << (i % 2 * 16);
    }
  }
  __device__ __forceinline__ float value(int i) const {
    if constexpr (kBytes == 4) return from_bits(words[i]);
    const uint32_t bits = words[i / 2] >> (i % 2 * 16) & 0xffff;
    return kIsHalf ? half_value(bits) : from_bits(bits << 16);
  }
};

}  // namespace vlp
