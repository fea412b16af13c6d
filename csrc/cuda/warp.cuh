// What the lanes of a warp do together.
#pragma once

#include "host_device.h"

namespace vlp {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffff;

__device__ __forceinline__ int warp_of_block() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ __forceinline__ int lane_of_warp() { return static_cast<int>(threadIdx.x) % kWarp; }

// In every lane, and the same bits in every run.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

// In every lane; NaN is passed over.
__device__ __forceinline__ float warp_largest(float value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  return value;
}

}  // namespace vlp
