// Rows whose nearest code three leaders did not settle: every code again, as it was given.
//
// The number of such rows is known on the device alone, so a fixed number of blocks goes through them. A warp
// takes one code after another for up to four rows at a time. A sum of squared differences in float32 says
// that nearly all codes are too far; those that may be nearest are compared in float64.
#pragma once

#include "cuda/assign_codes.cuh"

namespace vlp {

constexpr int kResolveThreads = 256, kResolveWarps = kResolveThreads / kWarp;
constexpr int kResolveRows = 4;  // that share the reading of the codes

// How far a float32 sum of squared differences can be from the true one: all of its terms are positive.
struct SumError {
  float relative, absolute;

  VLP_HOST_DEVICE static SumError of(int32_t width) {
    const float count = static_cast<float>(width);
    return {(count + 8) * 0x1p-23f, count * 0x1p-120f};
  }
  VLP_HOST_DEVICE float low(float sum) const { return sum * (1 - relative) - absolute; }
  VLP_HOST_DEVICE float high(float sum) const { return sum * (1 + relative) + absolute; }
};

// What a warp knows of a row: the nearest of its codes so far.
struct Search {
  Nearest nearest = Nearest::none();
  float high = static_cast<float>(kInfinity);  // no nearest code is further
  float sum = kNaN;                            // of `nearest` in float32
};

// By one warp: equal codes give equal sums, and are no news.
__device__ __forceinline__ bool is_same_code(const Codes& codes, int64_t a, int64_t b) {
  bool is_same = true;
  for (int32_t d = threadIdx.x % kWarp; d < codes.width; d += kWarp)
    is_same &= read_only(codes.exact + a * codes.width + d) == read_only(codes.exact + b * codes.width + d);
  return __all_sync(kAllLanes, is_same);
}

template <FloatKind kKind>
__device__ __forceinline__ void consider(const Rows& rows, const Codes& codes, int64_t row, int64_t code,
                                         float sum, const SumError& error, Search& search) {
  if (error.low(sum) > search.high) return;  // NaN goes on
  if (sum == search.sum && is_same_code(codes, code, search.nearest.code)) return;
  const double distance = exact_distance<kKind>(rows, row, codes.exact + code * codes.width);
  const Nearest nearest = nearer(search.nearest, {distance, code});
  if (nearest.code == code) search.sum = sum;
  search.nearest = nearest;
  search.high = smaller(error.high(sum), search.high);
}

// By one warp: every kResolveWarps-th code, in ascending order.
template <FloatKind kKind, int kCount>
__device__ __forceinline__ void search_codes(const Rows& rows, const Codes& codes,
                                             const int64_t (&row)[kCount], Search (&search)[kCount]) {
  const SumError error = SumError::of(codes.width);
  for (int64_t code = threadIdx.x / kWarp; code < codes.count; code += kResolveWarps) {
    float sums[kCount] = {};
    for (int32_t d = threadIdx.x % kWarp; d < codes.width; d += kWarp) {
      const float value = read_only(codes.exact + code * codes.width + d);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float difference = rows.at<kKind>(row[i], d) - value;
        sums[i] += difference * difference;
      }
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] = warp_sum(sums[i]);
#pragma unroll
    for (int i = 0; i < kCount; ++i) consider<kKind>(rows, codes, row[i], code, sums[i], error, search[i]);
  }
}

// kCount doubtful rows from `first` on by one block; the last row again where there are fewer.
template <FloatKind kKind, int kCount>
__device__ __forceinline__ void resolve(const Rows& rows, const Codes& codes, const Found& found,
                                        int64_t first, int64_t count, Nearest* of_warp) {
  int64_t row[kCount];
  Search search[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) row[i] = found.doubtful[smaller(first + i, count - 1)];
  search_codes<kKind>(rows, codes, row, search);
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp * kCount + i] = search[i].nearest;
  __syncthreads();
  if (threadIdx.x < kCount && first + threadIdx.x < count) {
    Nearest nearest = of_warp[threadIdx.x];
    for (int warp = 1; warp < kResolveWarps; ++warp)
      nearest = nearer(nearest, of_warp[warp * kCount + threadIdx.x]);
    found.indices[found.doubtful[first + threadIdx.x]] = nearest.code;
  }
  __syncthreads();
}

template <FloatKind kKind>
__global__ void __launch_bounds__(kResolveThreads, 2)
    resolve_rows_kernel(const Rows rows, const Codes codes, const Found found) {
  extern __shared__ __align__(128) double shared[];
  auto* of_warp = reinterpret_cast<Nearest*>(shared);
  const auto count = static_cast<int64_t>(*found.num_doubtful);
  if (count <= gridDim.x) {
    if (blockIdx.x < count) resolve<kKind, 1>(rows, codes, found, blockIdx.x, count, of_warp);
    return;
  }
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kResolveRows; first < count;
       first += static_cast<int64_t>(gridDim.x) * kResolveRows)
    resolve<kKind, kResolveRows>(rows, codes, found, first, count, of_warp);
}

}  // namespace vlp
