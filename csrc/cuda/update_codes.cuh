// Codes moved: a warp for each.
#pragma once

#include "cuda/warp.cuh"
#include "moving_average.h"

namespace vlp {

constexpr int kUpdateThreads = 256, kUpdateWarps = kUpdateThreads / kWarp;

// The rules: a new number of a code.
struct Paper {
  float* codes;
  const float *sums, *counts;
  TowardsMean rule;

  __device__ __forceinline__ void operator()(int64_t code, int64_t place) const {
    codes[place] = rule(codes[place], sums[place], read_only(counts + code));
  }
};

struct Official {
  float *codes, *averages;
  const float *sums, *cluster_sizes, *total;  // the latter two of decay_sizes_kernel
  Decay decay;
  float eps;
  int32_t count;

  __device__ __forceinline__ void operator()(int64_t code, int64_t place) const {
    const Smoothing smoothing{*total, *total + static_cast<float>(count) * eps, eps};
    const float average = decay(averages[place], sums[place]);
    averages[place] = average;
    codes[place] = smoothing.code(codes[place], average, smoothing.size(cluster_sizes[code]));
  }
};

template <typename Rule>
__global__ void __launch_bounds__(kUpdateThreads)
    update_codes_kernel(const Rule rule, const int32_t count, const int32_t width) {
  const int64_t code = static_cast<int64_t>(blockIdx.x) * kUpdateWarps + threadIdx.x / kWarp;
  if (code >= count) return;
  for (int32_t d = threadIdx.x % kWarp; d < width; d += kWarp) rule(code, code * width + d);
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
