// The dictionary's search on tensor cores, for sm_70 and newer: scores of half precision products, each row's
// leaders, and a proof or a comparison in float64. No header of the host in here: NVRTC compiles it too.
//
// A block has 64 rows and goes through all codes, 128 at a time, in chunks of 32 of the width. While a chunk
// is multiplied, the next one is on its way to registers; two buffers of shared memory take turns. Eight
// warps have 32 x 32 scores each, and rank them on their own. Rows are read once for each 128 codes, codes
// once for each 64 rows, both from the L2 cache; nothing of a score is ever written to memory.
#pragma once

#include "cuda/nearest.cuh"
#include "cuda/scores.cuh"

namespace vlp {

// Where the answers go.
struct Found {
  int64_t* indices;
  int64_t excluded;
  unsigned long long* num_doubtful;
  int64_t* doubtful;  // rows that are left for resolve_kernel
};

// Largest of all codes' |bias|, residual and norm, in every thread. NaN stays.
struct CodeBounds {
  float bias, residual, norm;
};

__device__ __forceinline__ float larger_or_nan(float a, float b) { return a < b || b != b ? b : a; }

__device__ __forceinline__ float block_largest(float value, float* of_warp) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value = larger_or_nan(value, __shfl_xor_sync(kAllLanes, value, distance));
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  for (int warp = 0; warp < AssignTile::kWarps; ++warp) value = larger_or_nan(value, of_warp[warp]);
  return value;
}

__device__ __forceinline__ CodeBounds code_bounds(const Codes& codes, const float* biases, AssignTile& tile) {
  CodeBounds most{0, 0, 0};
  for (int32_t code = threadIdx.x; code < codes.count; code += AssignTile::kThreads) {
    const float* residual = codes.terms + 2 * static_cast<int64_t>(codes.count) + code;
    most.bias = larger_or_nan(most.bias, magnitude(read_only(biases + code)));
    most.residual = larger_or_nan(most.residual, read_only(residual));
    most.norm = larger_or_nan(most.norm, read_only(residual + codes.count));
  }
  return {block_largest(most.bias, tile.largest[0]), block_largest(most.residual, tile.largest[1]),
          block_largest(most.norm, tile.largest[2])};
}

// By one thread for each row: a proved index, a few candidates, or a row for resolve_kernel.
__device__ __forceinline__ void decide(const Rows& rows, const Codes& codes, const Found& found,
                                       const CodeBounds& most, bool is_exact, int64_t row, int line,
                                       AssignTile& tile) {
  tile.candidates[line] = 0;
  if (row >= rows.count) return;
  if (!tile.is_finite_row[line] || !rows.is_valid(row)) {
    found.indices[row] = found.excluded;
    return;
  }
  Leaders leaders = tile.leaders[line][0];
  for (int i = 1; i < AssignTile::kLists; ++i) leaders.merge(tile.leaders[line][i]);
  tile.leaders[line][0] = leaders;
  const RowBounds bounds = RowBounds::of(tile.squares[line], tile.residuals[line], rows.width, is_exact);
  const ProductError error = ProductError::of(bounds, rows.width, kAccumulation);
  const float subtraction = kSubtraction * (most.bias + magnitude(leaders.score[0]));
  const int candidates = leaders.candidates(error(most.norm, most.residual) + subtraction);
  if (candidates == 1) found.indices[row] = leaders.code[0];
  if (candidates > Leaders::kKept) found.doubtful[atomicAdd(found.num_doubtful, 1ull)] = row;
  tile.candidates[line] = candidates > Leaders::kKept ? 0 : candidates;
}

// By one warp: the nearest of two or three.
template <FloatKind kKind>
__device__ __forceinline__ void compare(const Rows& rows, const Codes& codes, const Found& found, int64_t row,
                                        const Leaders& leaders, int candidates) {
  Nearest nearest = Nearest::none();
  for (int i = 0; i < candidates; ++i) {
    const int32_t code = leaders.code[i];
    const float* exact = codes.exact + static_cast<int64_t>(code) * codes.width;
    nearest = nearer(nearest, {exact_distance<kKind>(rows, row, exact), code});
  }
  if (threadIdx.x % kWarp == 0) found.indices[row] = nearest.code;
}

template <FloatKind kKind>
__global__ void __launch_bounds__(AssignTile::kThreads, 2)
    assign_codes_kernel(const Rows rows, const Codes codes, const Found found) {
  constexpr int kDepth = AssignTile::kDepth;
  constexpr bool kIsExact = kKind == FloatKind::kHalf;
  extern __shared__ __align__(128) double shared[];
  auto& tile = *reinterpret_cast<AssignTile*>(shared);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * AssignTile::kRows;
  const float* biases = codes.terms + (kIsExact ? codes.count : 0);
  const CodeBounds most = code_bounds(codes, biases, tile);

  Staging<kKind> staging;
  Scores scores;
  scores.clear();
  staging.read(rows, codes, first_row, 0, 0);
  staging.write(codes, 0, true, tile.operands[0]);
  __syncthreads();
  int turn = 0;
  float bias = 0;
  for (int32_t code = 0, depth = 0; code < codes.count;) {
    if (depth == 0 && threadIdx.x < AssignTile::kCodes) {
      const int32_t own = code + threadIdx.x;
      bias = own < codes.count ? read_only(biases + own) : static_cast<float>(kInfinity);
    }
    const bool is_last = depth + kDepth >= codes.width;
    const int32_t next_depth = is_last ? 0 : depth + kDepth;
    const int32_t next_code = is_last ? code + AssignTile::kCodes : code;
    if (next_code < codes.count) staging.read(rows, codes, first_row, next_code, next_depth);
    scores.multiply(tile.operands[turn]);
    if (is_last) {
      if (threadIdx.x < AssignTile::kCodes) tile.bias[threadIdx.x] = bias;
      __syncthreads();  // the scores take the place of the operands
      scores.rank(tile, code);
      scores.clear();
      __syncthreads();
    }
    turn ^= 1;
    if (next_code < codes.count) staging.write(codes, next_depth, next_code == 0, tile.operands[turn]);
    __syncthreads();
    code = next_code;
    depth = next_depth;
  }
  staging.tell(tile);
  scores.tell(tile);
  __syncthreads();
  if (threadIdx.x < AssignTile::kRows)
    decide(rows, codes, found, most, kIsExact, first_row + threadIdx.x, threadIdx.x, tile);
  __syncthreads();
  for (int line = threadIdx.x / kWarp; line < AssignTile::kRows; line += AssignTile::kWarps) {
    if (tile.candidates[line] < 2) continue;
    compare<kKind>(rows, codes, found, first_row + line, tile.leaders[line][0], tile.candidates[line]);
  }
}

}  // namespace vlp
