// What a block of the dictionary's search keeps in shared memory, and how rows and codes get there.
#pragma once

#include "cuda/leaders.cuh"
#include "cuda/rows.cuh"

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

static_assert(2 * sizeof(AssignTile) <= 64 << 10, "Turing has room for two blocks");

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

}  // namespace vlp
