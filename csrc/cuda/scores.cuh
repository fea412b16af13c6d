// Products on tensor cores, and the leaders among the scores that are made of them.
#pragma once

#include "cuda/assign_tile.cuh"
#include "cuda/tensor_cores.cuh"

namespace vlp {

// A warp's 32 x 32 scores, and each lane's leaders of two rows.
struct Scores {
  static constexpr int kPitch = AssignTile::kPitch, kScorePitch = AssignTile::kScorePitch;

  ProductFragment products[2][2];
  Leaders leaders[2] = {Leaders::none(), Leaders::none()};

  __device__ __forceinline__ static int warp() { return threadIdx.x / kWarp; }
  __device__ __forceinline__ static int lane() { return threadIdx.x % kWarp; }
  __device__ __forceinline__ static int first_row() { return warp() / 4 * AssignTile::kWarpRows; }
  __device__ __forceinline__ static int first_code() { return warp() % 4 * AssignTile::kWarpCodes; }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < 4; ++i) products[i / 2][i % 2].clear();
  }
  __device__ __forceinline__ void multiply(const AssignTile::Operands& buffer) {
    const uint16_t* rows = buffer.rows + first_row() * kPitch;
    const uint16_t* codes = buffer.codes + first_code() * kPitch;
#pragma unroll
    for (int depth = 0; depth < AssignTile::kDepth; depth += kFragment) {
      RowFragment row[2];
      CodeFragment code[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        row[i].load(rows + i * kFragment * kPitch + depth, kPitch);
        code[i].load(codes + i * kFragment * kPitch + depth, kPitch);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) products[i / 2][i % 2].add(row[i / 2], code[i % 2]);
    }
  }
  // Sixteen rows after sixteen: two lanes have a row, sixteen codes each.
  __device__ __forceinline__ void rank(AssignTile& tile, int32_t first) {
    float* scores = tile.scores[warp()];
    const int column = lane() % 2 * kFragment, own = first_code() + column;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      products[i][0].store(scores, kScorePitch);
      products[i][1].store(scores + kFragment, kScorePitch);
      __syncwarp();
      const float* line = scores + lane() / 2 * kScorePitch + column;
      for (int j = 0; j < kFragment; j += 4) {
        const float4 four = *reinterpret_cast<const float4*>(line + j);
        offer(four.x, tile, first, own + j, leaders[i]);
        offer(four.y, tile, first, own + j + 1, leaders[i]);
        offer(four.z, tile, first, own + j + 2, leaders[i]);
        offer(four.w, tile, first, own + j + 3, leaders[i]);
      }
      __syncwarp();  // before the next sixteen take their place
    }
  }
  __device__ __forceinline__ void tell(AssignTile& tile) const {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      tile.leaders[first_row() + i * 16 + lane() / 2][warp() % 4 * 2 + lane() % 2] = leaders[i];
  }

 private:
  __device__ __forceinline__ static void offer(float product, const AssignTile& tile, int32_t first, int own,
                                               Leaders& leaders) {
    leaders.offer(product - tile.bias[own], first + own);
  }
};

}  // namespace vlp
