// Products of a warp's sixteen rows on tensor cores, and the sums of rows that they are weights of.
#pragma once

#include "cuda/attention_tile.cuh"
#include "cuda/tensor_cores.cuh"

namespace vlp {

// Row and column of the numbers that a lane has of every fragment of sums: eight bits each.
struct Places {
  uint32_t words[2];

  // The hardware tells, when a warp loads a matrix of its own numbers.
  __device__ __forceinline__ explicit Places(float* matrix) : words{0, 0} {
    constexpr int kNumbers = kFragment * kFragment;
    for (int number = lane_of_warp(); number < kNumbers; number += kWarp)
      matrix[number] = static_cast<float>(number);
    __syncwarp();
    ProductFragment numbers;
    numbers.load(matrix, kFragment);
#pragma unroll
    for (int slot = 0; slot < ProductFragment::kShare; ++slot)
      words[slot / 4] |= static_cast<uint32_t>(numbers[slot]) << slot % 4 * 8;
    __syncwarp();  // before the matrix gives way to something else
  }
  // The same, but what follows from it is computed anew: kept across a loop it takes more registers than
  // there are.
  __device__ __forceinline__ Places again() const {
    Places same = *this;
    asm volatile("" : "+r"(same.words[0]), "+r"(same.words[1]));
    return same;
  }
  __device__ __forceinline__ int number(int slot) const {
    return static_cast<int>(words[slot / 4] >> slot % 4 * 8 & 255);
  }
  __device__ __forceinline__ int row(int slot) const { return number(slot) / kFragment; }
  __device__ __forceinline__ int column(int slot) const { return number(slot) % kFragment; }
};

// A warp's sums of sixteen rows.
template <int kWidth>
struct RowSums {
  static constexpr int kFragments = kWidth / kFragment, kPitch = kLinePitch<kWidth>;
  ProductFragment fragments[kFragments];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (ProductFragment& fragment : fragments) fragment.clear();
  }
  // Adds weights (16, kDepth) of a strip times the lines of a tile.
  template <int kDepth>
  __device__ __forceinline__ void add(const uint16_t* weights, const uint16_t* lines) {
#pragma unroll
    for (int depth = 0; depth < kDepth; depth += kFragment) {
      RowFragment row;
      row.load(weights + depth, kStripPitch<kDepth>);
#pragma unroll
      for (int i = 0; i < kFragments; ++i) {
        ValueFragment value;
        value.load(lines + depth * kPitch + i * kFragment, kPitch);
        fragments[i].add(row, value);
      }
    }
  }
  __device__ __forceinline__ void multiply(float factor) {
#pragma unroll
    for (ProductFragment& fragment : fragments)
#pragma unroll
      for (int slot = 0; slot < ProductFragment::kShare; ++slot) fragment[slot] *= factor;
  }
  __device__ __forceinline__ void multiply_rows(const float* factors, const Places& places) {
#pragma unroll
    for (int slot = 0; slot < ProductFragment::kShare; ++slot) {
      const float factor = factors[places.row(slot)];
#pragma unroll
      for (ProductFragment& fragment : fragments) fragment[slot] *= factor;
    }
  }
  // Rounds them into the lines of shared memory, which are the warp's own, and from there to memory.
  __device__ __forceinline__ void write(const Places& places, uint16_t* lines, const HeadRows& target,
                                        const SequenceRows& span, int32_t first, int32_t head,
                                        int32_t width) const {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kFragments; ++i)
#pragma unroll
      for (int slot = 0; slot < ProductFragment::kShare; ++slot)
        lines[places.row(slot) * kPitch + i * kFragment + places.column(slot)] =
            static_cast<uint16_t>(half_bits(fragments[i][slot]));
    __syncwarp();
    constexpr int kAbreast = kWidth / kSegment;
    for (int i = lane_of_warp(); i < kFragment * kAbreast; i += kWarp) {
      const int32_t row = first + i / kAbreast, column = i % kAbreast * kSegment;
      if (row >= span.length) continue;
      uint16_t* place = target.data + target.place(span.first + row, head) + column;
      write_segment(place, lines + i / kAbreast * kPitch + column, width - column, target.is_aligned);
    }
  }

 private:
  __device__ __forceinline__ static void write_segment(uint16_t* place, const uint16_t* numbers, int32_t left,
                                                       bool is_aligned) {
    if (is_aligned && left >= kSegment) {
      *reinterpret_cast<uint4*>(place) = *reinterpret_cast<const uint4*>(numbers);
      return;
    }
    for (int i = 0; i < kSegment && i < left; ++i) place[i] = numbers[i];
  }
};

// A warp's products (16, kColumns) of its rows and the lines of a tile, each kWidth deep.
template <int kWidth, int kColumns>
struct Products {
  static constexpr int kFragments = kColumns / kFragment, kPitch = kLinePitch<kWidth>;
  ProductFragment fragments[kFragments];

  __device__ __forceinline__ void of(const uint16_t* rows, const uint16_t* lines) {
#pragma unroll
    for (ProductFragment& fragment : fragments) fragment.clear();
#pragma unroll
    for (int depth = 0; depth < kWidth; depth += kFragment) {
      RowFragment row;
      row.load(rows + depth, kPitch);
#pragma unroll
      for (int i = 0; i < kFragments; ++i) {
        CodeFragment line;
        line.load(lines + i * kFragment * kPitch + depth, kPitch);
        fragments[i].add(row, line);
      }
    }
  }
};

}  // namespace vlp
