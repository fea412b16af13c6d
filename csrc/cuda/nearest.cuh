// Which of the codes in doubt is nearest: differences in float64, of the rows and codes as they were given.
#pragma once

#include "certificate.h"
#include "cuda/rows.cuh"

namespace vlp {

struct Nearest {
  double distance;  // squared
  int64_t code;

  VLP_HOST_DEVICE static Nearest none() { return {kInfinity, INT64_MAX}; }
};

// The lower index of equals. No tolerance: a chain of near ties would lead away from the nearest.
VLP_HOST_DEVICE Nearest nearer(const Nearest& a, const Nearest& b) {
  if (a.distance != b.distance) return a.distance < b.distance ? a : b;
  return a.code < b.code ? a : b;
}

// By one warp. No float32 overflows or vanishes as a square in float64.
template <FloatKind kKind>
__device__ __forceinline__ double exact_distance(const Rows& rows, int64_t row, const float* code) {
  double sum = 0;
  for (int32_t d = threadIdx.x % kWarp; d < rows.width; d += kWarp) {
    const double difference = static_cast<double>(rows.at<kKind>(row, d)) - read_only(code + d);
    sum += difference * difference;
  }
  return warp_sum(sum);
}

}  // namespace vlp
