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
constexpr int kForwardBlocks = kWidth <= 32 ? 4 : (kWidth <= 64 ? 3 : 2);

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

static_assert(kForwardBlocks<32> * sizeof(ForwardTile<32>) <= 96 << 10, "Turing has room for three");
static_assert(kForwardBlocks<64> * sizeof(ForwardTile<64>) <= 96 << 10, "Turing has room for two");
static_assert(kForwardBlocks<128> * sizeof(ForwardTile<128>) <= 96 << 10, "Turing has room for one");

// The softmax of a row, tile by tile, for two lanes that have four of every eight keys.
class OnlineSoftmax {
 public:
  static constexpr int kShare = kKeys / 2;

  __device__ __forceinline__ static int row() { return lane_of_warp() / 2; }
  // Of a lane's scores in a strip; they come in fours side by side.
  __device__ __forceinline__ static int place(int i) { return row() * kStripPitch<kKeys> + column(i); }
  __device__ __forceinline__ static int column(int i) { return i / 4 * 8 + lane_of_warp() % 2 * 4 + i % 4; }

  // Scores of the keys before `limit`, in units of ln 2, become weights. Returns what everything so far is to
  // be multiplied by.
  __device__ __forceinline__ float step(float (&scores)[kShare]) {
    float most = largest_;
#pragma unroll
    for (float score : scores) most = fmaxf(most, score);
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
    const float base = most > -static_cast<float>(kInfinity) ? most : 0;  // -inf - -inf is NaN
    const float factor = exp2f(largest_ - base);
    largest_ = most;
    total_ *= factor;
#pragma unroll
    for (float& score : scores) {
      score = exp2f(score - base);
      total_ += score;
    }
    return factor;
  }
  __device__ __forceinline__ void add_up() { total_ += __shfl_xor_sync(kAllLanes, total_, 1); }
  __device__ __forceinline__ float reciprocal() const { return total_ == 0 ? 0 : 1 / total_; }
  // +inf where no key was seen.
  __device__ __forceinline__ float lse() const {
    return total_ > 0 ? (largest_ + log2f(total_)) / kLog2E : static_cast<float>(kInfinity);
  }

 private:
  float largest_ = -static_cast<float>(kInfinity), total_ = 0;  // the latter is this lane's share
};

// A warp's sixteen queries; what is said of one is that of the lane's row.
template <int kWidth>
struct Queries {
  using Tile = ForwardTile<kWidth>;
  int32_t query, limit;  // the first key that it does not see
  uint32_t state;        // of its dropout
  OnlineSoftmax softmax;
  RowSums<kWidth> sums;

  // Scores times `scale` of keys from `first` on.
  __device__ __forceinline__ void read(const float* strip, int32_t first, float scale,
                                       float (&scores)[OnlineSoftmax::kShare]) const {
#pragma unroll
    for (int i = 0; i < softmax.kShare; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(strip + softmax.place(i));
      const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const bool is_seen = first + softmax.column(i + j) < limit;
        scores[i + j] = is_seen ? values[j] * scale : -static_cast<float>(kInfinity);
      }
    }
  }
  // Weights as half precision, lifted, those that dropout keeps.
  __device__ __forceinline__ void write(const float (&weights)[OnlineSoftmax::kShare], int32_t first,
                                        const Dropout& dropout, uint16_t* strip) const {
#pragma unroll
    for (int i = 0; i < softmax.kShare; i += 4)
      *reinterpret_cast<uint2*>(strip + softmax.place(i)) = {
          pair_of(weights[i], weights[i + 1], first + softmax.column(i), dropout),
          pair_of(weights[i + 2], weights[i + 3], first + softmax.column(i + 2), dropout)};
  }
  // Of two neighbours, the first of them of an even key.
  __device__ __forceinline__ uint32_t pair_of(float first, float second, int32_t key,
                                              const Dropout& dropout) const {
    uint32_t low = half_bits(first * kWeightLift), high = half_bits(second * kWeightLift);
    if (dropout.seed != nullptr) {
      const uint32_t pair = mix(state, key / 2);
      low = is_kept(pair, 0, dropout.threshold) ? low : 0;
      high = is_kept(pair, 1, dropout.threshold) ? high : 0;
    }
    return low | high << 16;
  }
  __device__ __forceinline__ void add(const Attention& in, Tile& tile, const Places& places, int32_t first) {
    const int warp = warp_of_block();
    typename Tile::Strip& strip = tile.strips[warp];
    float* factors = tile.factors[warp];
    Products<kWidth, kKeys> products;
    products.of(tile.queries + warp * kFragment * Tile::kPitch, tile.keys);
#pragma unroll
    for (int i = 0; i < products.kFragments; ++i)
      products.fragments[i].store(strip.scores + i * kFragment, kStripPitch<kKeys>);
    __syncwarp();
    float scores[OnlineSoftmax::kShare];
    read(strip.scores, first, in.scale * kLog2E, scores);
    const float factor = softmax.step(scores);
    __syncwarp();  // weights take the place of scores
    write(scores, first, in.dropout, strip.weights);
    factors[softmax.row()] = factor;
    const bool has_grown = !__all_sync(kAllLanes, factor == 1);
    __syncwarp();
    if (has_grown) sums.multiply_rows(factors, places);
    sums.template add<kKeys>(strip.weights, tile.values);
  }
  __device__ __forceinline__ void finish(const ForwardInput& in, const Part& part, Tile& tile,
                                         const Places& places, int32_t first) {
    const int warp = warp_of_block();
    softmax.add_up();
    tile.factors[warp][softmax.row()] = in.attention.dropout.factor / kWeightLift * softmax.reciprocal();
    __syncwarp();
    sums.multiply_rows(tile.factors[warp], places);
    uint16_t* lines = tile.queries + warp * kFragment * Tile::kPitch;
    sums.write(places, lines, in.out, part.queries, first, part.head, in.attention.width);
    if (query < part.queries.length && lane_of_warp() % 2 == 0)
      in.lse[part.head * in.num_queries + part.queries.first + query] = softmax.lse();
  }
};

template <int kWidth>
__global__ void __launch_bounds__(kAttentionThreads, kForwardBlocks<kWidth>)
    attention_forward_kernel(const ForwardInput in) {
  using Tile = ForwardTile<kWidth>;
  extern __shared__ __align__(128) double shared[];
  auto& tile = *reinterpret_cast<Tile*>(shared);
  const Part part(in.attention);
  const int32_t length = part.queries.length, head = part.head, width = in.attention.width;
  if (part.first >= length) return;
  const Places places(tile.strips[warp_of_block()].scores);
  TileCopy<kWidth, kOwnRows> own;
  own.read(in.q, part.queries, part.first, head, width);
  own.write(tile.queries);

  const int32_t first = part.first + warp_of_block() * kFragment, query = first + OnlineSoftmax::row();
  const uint32_t state = in.attention.dropout.of_row(part.sequence, head, query);
  Queries<kWidth> queries{query, part.limit(query), state, {}, {}};
  queries.sums.clear();
  const int32_t end = part.limit(part.first + kOwnRows - 1);
  const int32_t last = first < length ? part.limit(first + kFragment - 1) : 0;  // of this warp
  TileCopy<kWidth, kKeys> keys, values;
  const auto read = [&](int32_t key) {
    keys.read(in.k, part.keys, key, head, width);
    values.read(in.v, part.keys, key, head, width);
  };
  if (end > 0) read(0);
  __syncthreads();  // without keys, a warp may be done before others have copied queries
  for (int32_t key = 0; key < end; key += kKeys) {
    keys.write(tile.keys);
    values.write(tile.values);
    __syncthreads();
    if (key + kKeys < end) read(key + kKeys);
    if (key < last) queries.add(in.attention, tile, places, key);
    __syncthreads();  // the tile gives way to the next one
  }
  if (first < length) queries.finish(in, part, tile, places, first);
}

}  // namespace vlp
