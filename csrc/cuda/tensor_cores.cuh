// Matrices of 16 x 16 that the lanes of a warp hold together, multiplied by tensor cores: half precision in,
// float32 out. Which lane has which number is the hardware's business. In PTX, of which this is the part that
// every GPU from sm_70 on has: CUDA's mma.h needs headers that NVRTC does not come with.
//
// Matrices lie in shared memory, from multiples of 32 bytes on, their lines multiples of 16 bytes apart. All
// lanes of a warp call a function together, with the same arguments.
#pragma once

#include "host_device.h"

namespace vlp {

constexpr int kFragment = 16;  // rows, columns and depth

__device__ __forceinline__ uint32_t shared_address(const void* place) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(place));
}

// 16 rows, 16 deep, one row after the other.
struct RowFragment {
  uint32_t words[8];

  __device__ __forceinline__ void load(const uint16_t* place, int32_t pitch) {
    asm volatile(
        "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
        : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]), "=r"(words[4]), "=r"(words[5]),
          "=r"(words[6]), "=r"(words[7])
        : "r"(shared_address(place)), "r"(pitch)
        : "memory");
  }
};

// 16 codes, 16 deep, one code after the other.
struct CodeFragment {
  uint32_t words[8];

  __device__ __forceinline__ void load(const uint16_t* place, int32_t pitch) {
    asm volatile(
        "wmma.load.b.sync.aligned.col.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
        : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]), "=r"(words[4]), "=r"(words[5]),
          "=r"(words[6]), "=r"(words[7])
        : "r"(shared_address(place)), "r"(pitch)
        : "memory");
  }
};

// 16 deep, 16 columns, one depth after the other: what rows of weights are multiplied with.
struct ValueFragment {
  uint32_t words[8];

  __device__ __forceinline__ void load(const uint16_t* place, int32_t pitch) {
    asm volatile(
        "wmma.load.b.sync.aligned.row.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
        : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]), "=r"(words[4]), "=r"(words[5]),
          "=r"(words[6]), "=r"(words[7])
        : "r"(shared_address(place)), "r"(pitch)
        : "memory");
  }
};

// Sums of products of 16 rows with 16 codes or columns. A lane has eight of them: which ones, the hardware
// decides, the same ones of every such fragment.
struct ProductFragment {
  static constexpr int kShare = 8;
  float sums[kShare];

  __device__ __forceinline__ float& operator[](int slot) { return sums[slot]; }
  __device__ __forceinline__ float operator[](int slot) const { return sums[slot]; }
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (float& sum : sums) sum = 0;
  }
  __device__ __forceinline__ void add(const RowFragment& row, const CodeFragment& code) {
    asm volatile(
        "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, "
        "{%8, %9, %10, %11, %12, %13, %14, %15}, {%16, %17, %18, %19, %20, %21, %22, %23}, "
        "{%0, %1, %2, %3, %4, %5, %6, %7};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]), "+f"(sums[4]), "+f"(sums[5]),
          "+f"(sums[6]), "+f"(sums[7])
        : "r"(row.words[0]), "r"(row.words[1]), "r"(row.words[2]), "r"(row.words[3]), "r"(row.words[4]),
          "r"(row.words[5]), "r"(row.words[6]), "r"(row.words[7]), "r"(code.words[0]), "r"(code.words[1]),
          "r"(code.words[2]), "r"(code.words[3]), "r"(code.words[4]), "r"(code.words[5]), "r"(code.words[6]),
          "r"(code.words[7]));
  }
  __device__ __forceinline__ void add(const RowFragment& row, const ValueFragment& value) {
    asm volatile(
        "wmma.mma.sync.aligned.row.row.m16n16k16.f32.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, "
        "{%8, %9, %10, %11, %12, %13, %14, %15}, {%16, %17, %18, %19, %20, %21, %22, %23}, "
        "{%0, %1, %2, %3, %4, %5, %6, %7};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]), "+f"(sums[4]), "+f"(sums[5]),
          "+f"(sums[6]), "+f"(sums[7])
        : "r"(row.words[0]), "r"(row.words[1]), "r"(row.words[2]), "r"(row.words[3]), "r"(row.words[4]),
          "r"(row.words[5]), "r"(row.words[6]), "r"(row.words[7]), "r"(value.words[0]), "r"(value.words[1]),
          "r"(value.words[2]), "r"(value.words[3]), "r"(value.words[4]), "r"(value.words[5]),
          "r"(value.words[6]), "r"(value.words[7]));
  }
  // One row after the other, as for the store.
  __device__ __forceinline__ void load(const float* place, int32_t pitch) {
    asm volatile(
        "wmma.load.c.sync.aligned.row.m16n16k16.shared.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
        : "=f"(sums[0]), "=f"(sums[1]), "=f"(sums[2]), "=f"(sums[3]), "=f"(sums[4]), "=f"(sums[5]),
          "=f"(sums[6]), "=f"(sums[7])
        : "r"(shared_address(place)), "r"(pitch)
        : "memory");
  }
  __device__ __forceinline__ void store(float* place, int32_t pitch) const {
    asm volatile(
        "wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [%0], {%1, %2, %3, %4, %5, %6, %7, %8}, %9;"
        :
        : "r"(shared_address(place)), "f"(sums[0]), "f"(sums[1]), "f"(sums[2]), "f"(sums[3]), "f"(sums[4]),
          "f"(sums[5]), "f"(sums[6]), "f"(sums[7]), "r"(pitch)
        : "memory");
  }
};

}  // namespace vlp
