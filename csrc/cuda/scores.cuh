// Products on tensor cores, and the leaders among the scores that are made of them.
#pragma once

#include <mma.h>

#include "cuda/assign_tile.cuh"

namespace vlp {

// A warp's 32 x 32 scores, and each lane's leaders of two rows.
struct Scores {
  using Accumulator = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;
  using RowFragment =
      nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, half, nvcuda::wmma::row_major>;
  using CodeFragment =
      nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, half, nvcuda::wmma::col_major>;
  static constexpr int kPitch = AssignTile::kPitch, kScorePitch = AssignTile::kScorePitch;

  Accumulator products[2][2];
  Leaders leaders[2] = {Leaders::none(), Leaders::none()};

  __device__ __forceinline__ static int warp() { return threadIdx.x / kWarp; }
  __device__ __forceinline__ static int lane() { return threadIdx.x % kWarp; }
  __device__ __forceinline__ static int first_row() { return warp() / 4 * AssignTile::kWarpRows; }
  __device__ __forceinline__ static int first_code() { return warp() % 4 * AssignTile::kWarpCodes; }

  __device__ __forceinline__ void clear() {
    for (auto& line : products)
      for (auto& product : line) nvcuda::wmma::fill_fragment(product, 0.f);
  }
  __device__ __forceinline__ void multiply(const AssignTile::Operands& buffer) {
    const auto* rows = reinterpret_cast<const half*>(buffer.rows) + first_row() * kPitch;
    const auto* codes = reinterpret_cast<const half*>(buffer.codes) + first_code() * kPitch;
#pragma unroll
    for (int depth = 0; depth < AssignTile::kDepth; depth += 16) {
      RowFragment row[2];
      CodeFragment code[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        nvcuda::wmma::load_matrix_sync(row[i], rows + i * 16 * kPitch + depth, kPitch);
        nvcuda::wmma::load_matrix_sync(code[i], codes + i * 16 * kPitch + depth, kPitch);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 2; ++j) nvcuda::wmma::mma_sync(products[i][j], row[i], code[j], products[i][j]);
    }
  }
  // Sixteen rows after sixteen: two lanes have a row, sixteen codes each.
  __device__ __forceinline__ void rank(AssignTile& tile, int32_t first) {
    float* scores = tile.scores[warp()];
    const int column = lane() % 2 * 16, own = first_code() + column;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j)
        nvcuda::wmma::store_matrix_sync(scores + j * 16, products[i][j], kScorePitch,
                                        nvcuda::wmma::mem_row_major);
      __syncwarp();
      for (int j = 0; j < 16; j += 4) {
        uint32_t words[4];
        load_four_shared(scores + lane() / 2 * kScorePitch + column + j, words);
#pragma unroll
        for (int k = 0; k < 4; ++k)
          leaders[i].offer(from_bits(words[k]) - tile.bias[own + j + k], first + own + j + k);
      }
      __syncwarp();
    }
  }
  __device__ __forceinline__ void tell(AssignTile& tile) const {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      tile.leaders[first_row() + i * 16 + lane() / 2][warp() % 4 * 2 + lane() % 2] = leaders[i];
  }

 private:
  __device__ __forceinline__ static void load_four_shared(const float* place, uint32_t* words) {
    const uint4 four = *reinterpret_cast<const uint4*>(place);
    words[0] = four.x;
    words[1] = four.y;
    words[2] = four.z;
    words[3] = four.w;
  }
};

}  // namespace vlp
