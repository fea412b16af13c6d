// Attention on tensor cores, for sm_70 and newer: softmax(q k^T scale) v of packed sequences, and nothing of
// the scores in memory. FlashAttention-2 (Dao, 2023), algorithm 1. NVRTC compiles it too.
//
// A block has 64 queries of one sequence and head, a warp sixteen of them, and the keys before its queries'
// last pass by in tiles. While a tile is multiplied, the next one is on its way to registers. Scores pass
// through shared memory, since which lane has which is the hardware's business; two lanes share a row of
// them. Queries are read once, keys and values once for each 64 queries, and 2 T N E bytes of the result are
// written.
#pragma once

#include "cuda/attention_products.cuh"

namespace vlp {

struct ForwardInput {
  Attention attention;
  HeadRows q, k, v, out;
  float* lse;           // (N, Tq)
  int64_t num_queries;  // Tq
};

constexpr int kKeys = 32;  // of a tile that passes by

// Blocks that a processor of Volta has room for, registers (64 Ki) and shared memory (96 KiB) together.
template <int kWidth>
constexpr int kForwardBlocks = kWidth <= 32   ? 4
                               : kWidth <= 64 ? 3
                                              : 2;

template <int kWidth>
struct ForwardTile {
  static constexpr int kPitch = kLinePitch<kWidth>;

  union Strip {
    float scores[kFragment * kStripPitch<kKeys>];
    uint16_t weights[kFragment * kStripPitch<kKeys>];
  };
  uint16_t queries[kOwnRows * kPitch], keys[kKeys * kPitch], values[kKeys * kPitch];
  Strip strips[kAttentionWarps];
  float factors[kAttentionWarps][kFragment];
};

static_assert(kForwardBlocks<32> * sizeof(ForwardTile<32>) <= 96 << 10, "three on Turing");
static_assert(kForwardBlocks<64> * sizeof(ForwardTile<64>) <= 96 << 10, "two on Turing");
static_assert(kForwardBlocks<128> * sizeof(ForwardTile<128>) <= 96 << 10, "one on Turing");

// The softmax of a row, key by key, for two lanes that have four of every eight keys.
struct OnlineSoftmax {
  float largest = -static_cast<float>(kInfinity), total = 0;  // in units of ln 2; this lane's share

  __device__ __forceinline__ static int row() { return lane_of_warp() / 2; }
  __device__ __forceinline__ static int column(int i) { return i / 4 * 8 + lane_of_warp() % 2 * 4 + i % 4; }

  // Takes scores of keys from `first` to `limit`, times `scale`, and writes the weights in their place.
  // Returns what everything so far is to be multiplied by.
  template <typename Strip>
  __device__ __forceinline__ float step(Strip& strip, int32_t first, int32_t limit, float scale,
                                        const Dropout& dropout, uint32_t state) {
    float scores[kKeys / 2];
    float most = largest;
#pragma unroll
    for (int i = 0; i < kKeys / 2; i += 4) {
      const float4 four =
          *reinterpret_cast<const float4*>(strip.scores + row() * kStripPitch<kKeys> + column(i));
      const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const bool is_seen = first + column(i + j) < limit;
        scores[i + j] = is_seen ? values[j] * scale : -static_cast<float>(kInfinity);
        most = fmaxf(most, scores[i + j]);
      }
    }
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
    const float base = is_finite(most) || most > 0 ? most : 0;  // nothing seen yet: -inf - -inf is NaN
    const float factor = exp2f(largest - base);
    largest = most;
    total *= factor;
    __syncwarp();  // all scores are read
#pragma unroll
    for (int i = 0; i < kKeys / 2; i += 2) {
      const float weights[2] = {exp2f(scores[i] - base), exp2f(scores[i + 1] - base)};
      total += weights[0] + weights[1];
      const uint32_t pair = dropout.seed == nullptr ? 0 : mix(state, (first + column(i)) / 2);
      uint32_t bits = 0;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const bool is_in = dropout.seed == nullptr || is_kept(pair, j, dropout.threshold);
        bits |= (is_in ? half_bits(weights[j]) : 0) << j * 16;
      }
      *reinterpret_cast<uint32_t*>(strip.weights + row() * kStripPitch<kKeys> + column(i)) = bits;
    }
    return factor;
  }
  __device__ __forceinline__ void add_up() { total += __shfl_xor_sync(kAllLanes, total, 1); }
  // +inf where no key was seen.
  __device__ __forceinline__ float lse() const {
    return total > 0 ? (largest + log2f(total)) / kLog2E : static_cast<float>(kInfinity);
  }
};

template <int kWidth>
__global__ void __launch_bounds__(kAttentionThreads, kForwardBlocks<kWidth>)
    attention_forward_kernel(const ForwardInput in) {
  using Tile = ForwardTile<kWidth>;
  extern __shared__ __align__(128) double shared[];
  auto& tile = *reinterpret_cast<Tile*>(shared);
  const Attention& attention = in.attention;
  const Part part(attention);
  if (part.first >= part.queries.length) return;
  const int32_t head = part.head, width = attention.width;
  const int warp = warp_of_block();
  const int32_t first = part.first + warp * kFragment;
  typename Tile::Strip& strip = tile.strips[warp];
  float* factors = tile.factors[warp];
  const Places places(strip.scores);

  OnlineSoftmax softmax;
  RowSums<kWidth> sums;
  sums.clear();
  const int32_t query = first + softmax.row();
  const uint32_t state = attention.dropout.of_row(part.sequence, head, query);
  const int32_t limit = part.limit(query);
  const int32_t end = part.limit(part.first + kOwnRows - 1);

  TileCopy<kWidth, kOwnRows> queries;
  queries.read(in.q, part.queries, part.first, head, width);
  queries.write(tile.queries);
  uint16_t* own = tile.queries + warp * kFragment * Tile::kPitch;
  TileCopy<kWidth, kKeys> keys, values;
  if (end > 0) {
    keys.read(in.k, part.keys, 0, head, width);
    values.read(in.v, part.keys, 0, head, width);
  }
  __syncthreads();  // without keys, a warp may be done before others have copied queries
  for (int32_t key = 0; key < end; key += kKeys) {
    keys.write(tile.keys);
    values.write(tile.values);
    __syncthreads();
    if (key + kKeys < end) {
      keys.read(in.k, part.keys, key + kKeys, head, width);
      values.read(in.v, part.keys, key + kKeys, head, width);
    }
    if (first < part.queries.length) {
      Products<kWidth, kKeys> scores;
      scores.of(own, tile.keys);
#pragma unroll
      for (int i = 0; i < scores.kFragments; ++i)
        scores.fragments[i].store(strip.scores + i * kFragment, kStripPitch<kKeys>);
      __syncwarp();
      const float factor =
          softmax.step(strip, key, limit, attention.scale * kLog2E, attention.dropout, state);
      factors[softmax.row()] = factor;
      if (!__all_sync(kAllLanes, factor == 1)) {
        __syncwarp();
        sums.multiply_rows(factors, places);
      }
      __syncwarp();
      sums.template add<kKeys>(strip.weights, tile.values);
    }
    __syncthreads();  // the tile gives way to the next one
  }
  if (first >= part.queries.length) return;
  softmax.add_up();
  factors[softmax.row()] = softmax.total == 0 ? 0 : attention.dropout.factor / softmax.total;
  __syncwarp();
  sums.multiply_rows(factors, places);
  sums.write(places, own, in.out, part.queries, first, head, width);
  if (query < part.queries.length && lane_of_warp() % 2 == 0)
    in.lse[head * in.num_queries + part.queries.first + query] = softmax.lse();
}

}  // namespace vlp
