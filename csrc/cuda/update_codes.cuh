// Codes moved, and prepared for the next search, in one pass over them: a warp for each code.
#pragma once

#include "cuda/rows.cuh"
#include "moving_average.h"

namespace vlp {

constexpr int kUpdateThreads = 256, kUpdateWarps = kUpdateThreads / kWarp;

// (K, D) codes for searches; without an operand nobody asks for them.
struct PreparedOutput {
  void* operand;
  FloatKind kind;
  float* terms;         // (4, K)
  const float* centre;  // (D,)
};

// To nearest even; beyond the largest finite number, that one.
__device__ __forceinline__ uint32_t brain_bits(float value) {
  constexpr float kMost = 0x1.fep127f;
  const float within = fminf(fmaxf(value, -kMost), kMost);
  uint32_t bits;
  memcpy(&bits, &within, sizeof(bits));
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// What is stored of a shifted number of a code, which is not larger than the largest of its kind.
__device__ __forceinline__ float store_operand(const PreparedOutput& out, int64_t place, double shifted) {
  const auto number = static_cast<float>(shifted);
  if (out.kind == FloatKind::kHalf) {
    const uint32_t bits = half_bits(within_half(number));
    static_cast<uint16_t*>(out.operand)[place] = static_cast<uint16_t>(bits);
    return half_value(bits);
  }
  if (out.kind == FloatKind::kSingle) return static_cast<float*>(out.operand)[place] = number;
  const uint32_t bits = brain_bits(number);
  static_cast<uint16_t*>(out.operand)[place] = static_cast<uint16_t>(bits);
  return from_bits(bits << 16);
}

// The rules: a new number of a code, written where the rule says.
struct AsTheyAre {
  const float* codes;

  __device__ __forceinline__ float operator()(int64_t, int64_t place) const { return codes[place]; }
};

struct Paper {
  float* codes;
  const float *sums, *counts;
  TowardsMean rule;

  __device__ __forceinline__ float operator()(int64_t code, int64_t place) const {
    return codes[place] = rule(codes[place], sums[place], read_only(counts + code));
  }
};

struct Official {
  float *codes, *averages;
  const float *sums, *cluster_sizes, *total;  // the latter two of decay_sizes_kernel
  Decay decay;
  float eps;
  int32_t count;

  __device__ __forceinline__ float operator()(int64_t code, int64_t place) const {
    const Smoothing smoothing{*total, *total + static_cast<float>(count) * eps, eps};
    const float average = decay(averages[place], sums[place]);
    averages[place] = average;
    return codes[place] = smoothing.code(codes[place], average, smoothing.size(cluster_sizes[code]));
  }
};

template <typename Rule>
__global__ void __launch_bounds__(kUpdateThreads)
    update_codes_kernel(const Rule rule, const int32_t count, const int32_t width, const PreparedOutput out) {
  const int64_t code = static_cast<int64_t>(blockIdx.x) * kUpdateWarps + threadIdx.x / kWarp;
  if (code >= count) return;
  const int32_t lane = threadIdx.x % kWarp;
  CodeSums sums;
  for (int32_t d = lane; d < width; d += kWarp) {
    const int64_t place = code * width + d;
    const float value = rule(code, place);
    if (out.operand == nullptr) continue;
    const float centre = read_only(out.centre + d);
    sums.add(value, centre, store_operand(out, place, CodeSums::shift(value, centre)));
  }
  if (out.operand == nullptr) return;
  sums = {warp_sum(sums.shifted), warp_sum(sums.bias), warp_sum(sums.residual)};
  if (lane < 4) out.terms[lane * static_cast<int64_t>(count) + code] = sums.term(lane);
}

// One block moves the cluster sizes and adds them up, before anybody divides by them.
__global__ void __launch_bounds__(kUpdateThreads)
    decay_sizes_kernel(float* cluster_sizes, const float* counts, const Decay decay, const int32_t count,
                       float* total) {
  extern __shared__ double shared[];
  double sum = 0;
  for (int32_t code = threadIdx.x; code < count; code += kUpdateThreads) {
    const float size = decay(cluster_sizes[code], counts[code]);
    cluster_sizes[code] = size;
    sum += static_cast<double>(size);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kUpdateWarps; ++warp) sum += shared[warp];
  *total = static_cast<float>(sum);
}

}  // namespace vlp
