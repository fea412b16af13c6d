// What the lanes of a warp do together.
#pragma once

#include "host_device.h"

namespace vlp {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffff;

// In every lane, and the same bits in every run.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

}  // namespace vlp
