// Gradients of attention on tensor cores, for sm_70 and newer, the same bits in every run. The weights are
// computed again from log-sum-exps (FlashAttention-2, algorithm 2):
//
//   P = exp(q k^T scale - lse)    dS = P (dO v^T - centre)    centre = sum_e dO O
//   dV = P^T dO                   dK = dS^T q scale           dQ = dS k scale
//
// Once by queries, which gives dQ and the centres, and once by keys, which gives dK and dV: nobody
// adds to what somebody else writes. A block has 64 rows of its own side, a warp sixteen of them; the rows of
// the other side pass by in tiles, those of the next one on their way to registers. The scores of a
// warp stay in its registers, and go through shared memory as half precision, where they become operands.
// Each side reads its own rows once and those of the other side once for each 64.
#pragma once

#include "cuda/attention_terms.cuh"

namespace vlp {

// A warp's weights and gradients of scores of sixteen own rows and the rows of a tile.
template <typename Side, int kWidth>
struct ScoreGradients {
  using Tile = BackwardTile<kWidth>;
  Products<kWidth, Tile::kPassing> scores, grads;

  // Scores become weights, gradients of weights become gradients of scores. `row` and `other` are the first
  // ones. Returns the largest.
  __device__ __forceinline__ float weigh(const Attention& in, const QueryTerms* terms, const Places& places,
                                         int32_t row, int32_t other) {
    float largest = 0;
#pragma unroll
    for (int i = 0; i < scores.kFragments; ++i) {
      __syncwarp();  // terms of the next sixteen are read when these are done with: registers are scarce
#pragma unroll
      for (int slot = 0; slot < ProductFragment::kShare; ++slot) {
        const int own = places.row(slot), column = i * kFragment + places.column(slot);
        const QueryTerms term = terms[Side::query(own, column)];
        const int32_t key = Side::key(row + own, other + column);
        const float score = scores.fragments[i][slot] * (in.scale * kLog2E) - term.lse;
        const bool is_seen = key < term.limit;
        const float weight = is_seen ? exp2f(score > 0 ? 0 : score) : 0;  // a large score's rounding apart
        float grad = grads.fragments[i][slot];
        float used = weight;
        if (in.dropout.seed != nullptr) {
          const bool is_in = is_kept(mix(term.state, key / 2), key, in.dropout.threshold);
          grad = is_in ? grad * in.dropout.factor : 0;
          used = is_in ? weight : 0;
        }
        const float gradient = is_seen ? weight * (grad - term.centre) : 0;
        largest = fmaxf(largest, magnitude(gradient));
        scores.fragments[i][slot] = used;
        grads.fragments[i][slot] = gradient;
      }
    }
    return warp_largest(largest);
  }
};

// A warp's sums, and those of its own rows that are there.
template <typename Side, int kWidth>
struct Gradients {
  using Tile = BackwardTile<kWidth>;
  RowSums<kWidth> of_scores;   // dQ or dK, of one factor
  RowSums<kWidth> of_weights;  // dV, by keys
  Lift lift;

  __device__ __forceinline__ void clear() {
    of_scores.clear();
    if constexpr (Side::kIsKeys) of_weights.clear();
  }
  // `row` and `other` are the first own row and the first of the tile.
  __device__ __forceinline__ void add(const Attention& in, Tile& tile, const Places& places, int32_t row,
                                      int32_t other) {
    const int own = warp_of_block() * kFragment;
    const QueryTerms* terms = tile.terms + (Side::kIsKeys ? 0 : own);
    uint16_t* strip = tile.strips[warp_of_block()].weights;
    ScoreGradients<Side, kWidth> found;
    found.scores.of(tile.own[0] + own * Tile::kPitch, tile.other[0]);
    // The gradients of weights: dO v^T by queries, and turned round by keys.
    found.grads.of(tile.own[1] + own * Tile::kPitch, tile.other[1]);
    const float change = lift.fit(found.weigh(in, terms, places, row, other));
    if constexpr (Side::kIsKeys) {
      add(of_weights, found.scores, kWeightLift, places, strip, tile.other[1]);
    }
    if (change != 1) of_scores.multiply(change);
    add(of_scores, found.grads, lift.factor, places, strip, tile.other[0]);
  }
  __device__ __forceinline__ void write(const BackwardInput& in, const Part& part, Tile& tile,
                                        const Places& places, int32_t row) {
    const int own = warp_of_block() * kFragment * Tile::kPitch;
    const int32_t head = part.head, width = in.attention.width;
    of_scores.multiply(in.attention.scale / lift.factor);
    of_scores.write(places, tile.own[0] + own, Side::kIsKeys ? in.grad_k : in.grad_q, Side::own(part), row,
                    head, width);
    if constexpr (Side::kIsKeys) {
      of_weights.multiply(in.attention.dropout.factor / kWeightLift);
      of_weights.write(places, tile.own[1] + own, in.grad_v, Side::own(part), row, head, width);
    }
  }

 private:
  // Numbers times a factor become half precision and, sixteen columns at a time, weights of a tile's rows.
  __device__ __forceinline__ static void add(RowSums<kWidth>& sums,
                                             const Products<kWidth, Tile::kPassing>& numbers, float factor,
                                             const Places& places, uint16_t* strip, const uint16_t* lines) {
#pragma unroll
    for (int i = 0; i < numbers.kFragments; ++i) {
      __syncwarp();  // nobody multiplies what is there any more
#pragma unroll
      for (int slot = 0; slot < ProductFragment::kShare; ++slot)
        strip[places.row(slot) * kStripPitch<kFragment> + places.column(slot)] =
            static_cast<uint16_t>(half_bits(numbers.fragments[i][slot] * factor));
      __syncwarp();
      sums.template add<kFragment>(strip, lines + i * kFragment * Tile::kPitch);
    }
  }
};

// Rows of the other side, in registers: the next tile of them is read while the last one is multiplied.
template <typename Side, int kWidth>
struct OtherRows {
  using Tile = BackwardTile<kWidth>;
  TileCopy<kWidth, Tile::kPassing> rows[2];
  float lse = 0, centre = 0;  // of a query, in the first threads

  __device__ __forceinline__ static bool has_terms() { return Side::kIsKeys && threadIdx.x < Tile::kPassing; }
  __device__ __forceinline__ void read(const BackwardInput& in, const Part& part, int32_t first) {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      rows[i].read(Side::other(in, i), Side::other(part), first, part.head, in.attention.width);
    const int32_t query = first + static_cast<int32_t>(threadIdx.x);
    if (!has_terms() || query >= part.queries.length) return;
    lse = read_only(in.lse + place_of(in, part, query));
    centre = read_only(in.centres + place_of(in, part, query));
  }
  __device__ __forceinline__ void write(const BackwardInput& in, const Part& part, int32_t first,
                                        Tile& tile) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) rows[i].write(tile.other[i]);
    if (!has_terms()) return;
    const int32_t query = first + static_cast<int32_t>(threadIdx.x);
    tile.terms[threadIdx.x] = terms_of(in, part, query, lse, centre);
  }
};

template <typename Side, int kWidth>
__device__ __forceinline__ void copy_own(const BackwardInput& in, const Part& part,
                                         BackwardTile<kWidth>& tile) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    TileCopy<kWidth, kOwnRows> rows;
    rows.read(Side::own(in, i), Side::own(part), part.first, part.head, in.attention.width);
    rows.write(tile.own[i]);
  }
  __syncthreads();
  if constexpr (!Side::kIsKeys) make_terms(in, part, tile);
}

template <typename Side, int kWidth>
__global__ void __launch_bounds__(kAttentionThreads, kBackwardBlocks)
    attention_backward_kernel(const BackwardInput in) {
  using Tile = BackwardTile<kWidth>;
  extern __shared__ __align__(128) double shared[];
  auto& tile = *reinterpret_cast<Tile*>(shared);
  const Part part(in.attention);
  const int32_t length = Side::own(part).length;
  if (part.first >= length) return;
  const Places places(tile.strips[warp_of_block()].numbers);
  copy_own<Side>(in, part, tile);
  const int32_t row = part.first + warp_of_block() * kFragment;
  Gradients<Side, kWidth> gradients;
  gradients.clear();
  const Range range = Side::range(part, Tile::kPassing);
  OtherRows<Side, kWidth> others;
  if (range.begin < range.end) others.read(in, part, range.begin);
  for (int32_t other = range.begin; other < range.end; other += Tile::kPassing) {
    others.write(in, part, other, tile);
    __syncthreads();
    if (other + Tile::kPassing < range.end) others.read(in, part, other + Tile::kPassing);
    if (Side::meet(part, row, other, Tile::kPassing))
      gradients.add(in.attention, tile, places.again(), row, other);
    __syncthreads();  // the tile gives way to the next one
  }
  if (row < length) gradients.write(in, part, tile, places, row);
}

}  // namespace vlp
