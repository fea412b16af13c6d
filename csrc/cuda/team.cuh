// Warps and blocks as the team of shortest_paths.h: columns are dealt out in turn, lane after lane.
#pragma once

#include "cuda/warp.cuh"
#include "shortest_paths.h"

namespace vlp {

// Without a branch.
__device__ __forceinline__ Offer better(const Offer& a, const Offer& b) {
  const bool wins = (a.distance < b.distance) | ((a.distance == b.distance) & (a.rank < b.rank));
  return {wins ? a.distance : b.distance, wins ? a.rank : b.rank};
}

// The best offer of a warp, in every lane: three integer minima where the GPU has them as an instruction
// (sm_80 and newer), for the upper and the lower half of the distance and for the rank; five rounds of swaps
// elsewhere.
__device__ __forceinline__ Offer warp_best(Offer offer) {
#if __CUDA_ARCH__ >= 800
  const int64_t key = ordered(offer.distance);
  const auto high = static_cast<int32_t>(key >> 32);
  const auto low = static_cast<uint32_t>(key);
  const int32_t best_high = __reduce_min_sync(kAllLanes, high);
  const uint32_t best_low = __reduce_min_sync(kAllLanes, high == best_high ? low : UINT32_MAX);
  const bool is_best = high == best_high && low == best_low;
  const int32_t rank = __reduce_min_sync(kAllLanes, is_best ? offer.rank : INT32_MAX);
  return {unordered(static_cast<int64_t>(best_high) * (int64_t{1} << 32) + best_low), rank};
#else
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    const Offer other{__shfl_xor_sync(kAllLanes, offer.distance, distance),
                      __shfl_xor_sync(kAllLanes, offer.rank, distance)};
    offer = better(offer, other);
  }
  return offer;
#endif
}

template <int kSize>
struct Lanes {
  static constexpr int kThreads = kSize;

  int32_t lane;

  template <typename Body>
  __device__ __forceinline__ void each(int32_t count, Body&& body) const {
    for (int32_t j = lane; j < count; j += kThreads) body(j);
  }
  template <typename Body>
  __device__ __forceinline__ void once(Body&& body) const {
    if (lane == 0) body();
  }
  template <typename Body>
  __device__ __forceinline__ void owner(int32_t column, Body&& body) const {
    if (lane == column % kThreads) body(column);
  }

 protected:
  template <typename DistanceOf, typename RankOf>
  __device__ __forceinline__ Offer own_best(int32_t count, DistanceOf&& distance_of, RankOf&& rank_of) const {
    Offer best = Offer::none();
    for (int32_t j = lane; j < count; j += kThreads) {
      const int32_t rank = rank_of(j);  // read before distance_of writes
      best = better({distance_of(j), rank}, best);
    }
    return best;
  }
};

struct WarpTeam : Lanes<32> {
  static constexpr int kBlock = 128;  // of which one warp stays when the costs are there
  static constexpr int kSharedBytes = 0;

  __device__ explicit WarpTeam(void*) : Lanes{static_cast<int32_t>(threadIdx.x)} {}

  template <typename DistanceOf, typename RankOf>
  __device__ __forceinline__ Offer nearest(int32_t count, DistanceOf&& distance_of, RankOf&& rank_of) const {
    return warp_best(own_best(count, distance_of, rank_of));
  }
  __device__ __forceinline__ void sync() const { __syncwarp(); }
};

// For more columns than a warp gets through quickly. Two reductions may be under way at a time, in turn.
struct BlockTeam : Lanes<256> {
  static constexpr int kBlock = kThreads;
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kSharedBytes = 2 * kWarps * sizeof(Offer);

  Offer* best_of_warp;
  mutable int32_t turn = 0;  // of the one copy that takes minima

  __device__ explicit BlockTeam(void* shared)
      : Lanes{static_cast<int32_t>(threadIdx.x)}, best_of_warp(static_cast<Offer*>(shared)) {}

  template <typename DistanceOf, typename RankOf>
  __device__ __forceinline__ Offer nearest(int32_t count, DistanceOf&& distance_of, RankOf&& rank_of) const {
    const Offer best = warp_best(own_best(count, distance_of, rank_of));
    Offer* slots = best_of_warp + turn * kWarps;
    turn ^= 1;  // the next reduction writes elsewhere while slow warps still read this one
    if (lane % 32 == 0) slots[lane / 32] = best;
    __syncthreads();
    return warp_best(lane % 32 < kWarps ? slots[lane % 32] : Offer::none());
  }
  __device__ __forceinline__ void sync() const { __syncthreads(); }
};

}  // namespace vlp
