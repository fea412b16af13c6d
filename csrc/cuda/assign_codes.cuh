// The dictionary's search on tensor cores, for sm_70 and newer: scores of half precision products, each row's
// leaders, and a proof or a comparison in float64. No header of the host in here: NVRTC compiles it too.
//
// A block has 64 rows and goes through all codes, 128 at a time, in chunks of 32 of the width. While a chunk
// is multiplied, the next one is on its way to registers; two buffers of shared memory take turns. Eight
// warps have 32 x 32 scores each, and rank them on their own. Rows are read once for each 128 codes, codes
// once for each 64 rows, both from the L2 cache; nothing of a score is ever written to memory.
#pragma once

#include <mma.h>

#include "cuda/leaders.cuh"
#include "cuda/nearest.cuh"

namespace vlp {

// The K codes as they are, and as `prepare_codes` made them.
struct Codes {
  const float* exact;       // (K, D)
  const uint16_t* operand;  // (K, D) half precision
  const float* terms;       // (4, K)
  const float* centre;      // (D,)
  int32_t count, width;
  bool are_aligned;  // segments of operand and centre lie on multiples of 16 bytes
};

// Where the answers go.
struct Found {
  int64_t* indices;
  int64_t excluded;
  unsigned long long* num_doubtful;
  int64_t* doubtful;  // rows that are left for resolve_kernel
};

// Shared memory of a block. Fragments are read from multiples of 32 bytes, their rows from different banks.
struct AssignTile {
  static constexpr int kRows = 64, kCodes = 128, kDepth = 32, kThreads = 256;
  static constexpr int kWarpRows = 32, kWarpCodes = 32, kWarps = kThreads / kWarp;
  static constexpr int kPitch = kDepth + 8, kScorePitch = kWarpCodes + 4;
  static constexpr int kLists = 2 * kCodes / kWarpCodes;  // of a row: two lanes of each warp that has it

  struct Operands {
    uint16_t rows[kRows * kPitch], codes[kCodes * kPitch];
  };
  union {
    Operands operands[2];
    float scores[kWarps][16 * kScorePitch];
    Leaders leaders[kRows][kLists];
  };
  float bias[kCodes];
  float squares[kRows], residuals[kRows];
  float largest[3][kWarps];
  int32_t is_finite_row[kRows], candidates[kRows];
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

// What a thread carries from memory to a buffer: a segment of one row and of two codes.
template <FloatKind kKind>
struct Staging {
  static constexpr int kAbreast = AssignTile::kDepth / kSegment;   // segments of a chunk
  static constexpr int kStride = AssignTile::kThreads / kAbreast;  // codes at a time
  static constexpr int kCodeSegments = AssignTile::kCodes / kStride;

  Segment<kKind> row;
  Segment<FloatKind::kHalf> code[kCodeSegments];
  float squares = 0, residuals = 0;
  bool is_finite_row = true;

  __device__ __forceinline__ static int line() { return threadIdx.x / kAbreast; }
  __device__ __forceinline__ static int column() { return threadIdx.x % kAbreast * kSegment; }

  __device__ __forceinline__ void read(const Rows& rows, const Codes& codes, int64_t first_row,
                                       int32_t first_code, int32_t depth) {
    const int32_t d = depth + column(), left = codes.width - d;
    const int64_t own = first_row + line();
    row.read(rows.data, rows.place(own, d), rows.column_stride, own < rows.count ? left : 0,
             rows.are_aligned);
#pragma unroll
    for (int i = 0; i < kCodeSegments; ++i) {
      const int32_t number = first_code + line() + i * kStride;
      code[i].read(codes.operand, static_cast<int64_t>(number) * codes.width + d, 1,
                   number < codes.count ? left : 0, codes.are_aligned);
    }
  }
  __device__ __forceinline__ void write(const Codes& codes, int32_t depth, bool is_first_visit,
                                        AssignTile::Operands& buffer) {
    uint4 rounded;
    if constexpr (kKind == FloatKind::kHalf) {
      rounded = {row.words[0], row.words[1], row.words[2], row.words[3]};
      if (is_first_visit) measure();
    } else {
      rounded = round(codes, depth + column(), is_first_visit);
    }
    constexpr int kPitch = AssignTile::kPitch;
    *reinterpret_cast<uint4*>(buffer.rows + line() * kPitch + column()) = rounded;
#pragma unroll
    for (int i = 0; i < kCodeSegments; ++i) {
      const uint32_t* words = code[i].words;
      *reinterpret_cast<uint4*>(buffer.codes + (line() + i * kStride) * kPitch + column()) =
          uint4{words[0], words[1], words[2], words[3]};
    }
  }
  // Rows of half precision are multiplied as they are.
  __device__ __forceinline__ void measure() {
#pragma unroll
    for (int i = 0; i < kSegment; ++i) {
      const float value = row.value(i);
      is_finite_row &= is_finite(value);
      squares += value * value;
    }
  }
  // Others are centred and rounded.
  __device__ __forceinline__ uint4 round(const Codes& codes, int32_t d, bool is_first_visit) {
    Segment<FloatKind::kSingle> centre;
    centre.read(codes.centre, d, 1, codes.width - d, codes.are_aligned);
    uint32_t words[kSegment / 2];
#pragma unroll
    for (int i = 0; i < kSegment; ++i) {
      const float value = row.value(i), centred = value - centre.value(i);
      const uint32_t bits = half_bits(within_half(centred));
      words[i / 2] = i % 2 == 0 ? bits : words[i / 2] | bits << 16;
      if (!is_first_visit) continue;
      const float operand = half_value(bits), lost = centred - operand;
      is_finite_row &= is_finite(value);
      squares += operand * operand;
      residuals += lost * lost;
    }
    return {words[0], words[1], words[2], words[3]};
  }
  // Adds up what the threads of a row have measured.
  __device__ __forceinline__ void tell(AssignTile& tile) {
#pragma unroll
    for (int distance = kAbreast / 2; distance > 0; distance /= 2) {
      squares += __shfl_xor_sync(kAllLanes, squares, distance);
      residuals += __shfl_xor_sync(kAllLanes, residuals, distance);
      is_finite_row &= __shfl_xor_sync(kAllLanes, static_cast<int>(is_finite_row), distance) != 0;
    }
    if (column() != 0) return;
    tile.squares[line()] = squares;
    tile.residuals[line()] = residuals;
    tile.is_finite_row[line()] = is_finite_row;
  }
};

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
    nearest = nearer(nearest, {exact_distance<kKind>(rows, row, exact), code}, equal_distances(rows.width));
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
