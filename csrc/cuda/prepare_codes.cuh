// Codes for the search: half precision around a centre, and what bounds its rounding. A warp for each code.
#pragma once

#include "certificate.h"
#include "cuda/rows.cuh"

namespace vlp {

constexpr int kPrepareThreads = 256, kPrepareWarps = kPrepareThreads / kWarp;

__global__ void __launch_bounds__(kPrepareThreads)
    prepare_codes_kernel(const float* codes, const float* centre, const int32_t count, const int32_t width,
                         uint16_t* operand, float* terms) {
  const int64_t code = static_cast<int64_t>(blockIdx.x) * kPrepareWarps + threadIdx.x / kWarp;
  if (code >= count) return;
  const int32_t lane = threadIdx.x % kWarp;
  CodeSums sums;
  for (int32_t d = lane; d < width; d += kWarp) {
    const int64_t place = code * width + d;
    const float value = read_only(codes + place), around = read_only(centre + d);
    const uint32_t bits = half_bits(within_half(static_cast<float>(CodeSums::shift(value, around))));
    operand[place] = static_cast<uint16_t>(bits);
    sums.add(value, around, half_value(bits));
  }
  sums = {warp_sum(sums.shifted), warp_sum(sums.bias), warp_sum(sums.residual)};
  if (lane < 4) terms[lane * static_cast<int64_t>(count) + code] = sums.term(lane);
}

}  // namespace vlp
