// Products of float32 rows and codes, for CPUs whose library takes longer.
//
// A thread takes a block of rows, writes it column by column, 96 KiB of a width of 768 that stay in its
// cache, and passes codes by it. The sums of a tile, some codes and the block, stay in registers. Each runs
// over the width in order, so no bit depends on other rows, threads or chunks; behind the last row are zeros.
//
// On an AMD EPYC of Zen 5, two cores, PyTorch 2.11 with MKL 2024.2, 2026-11-21, 256 rows, 2048 codes and a
// width of 768 took 2.1 ms, 380 GFLOP/s, and MKL 4.5 ms. Kept to AVX2, this reached 207 GFLOP/s beside MKL's
// 162. Libraries on other CPUs may be faster than this: not measured.
#include <vector>

#include "cpu/float_rows.h"
#include "cpu/threads.h"
#include "ops.h"

#ifdef __x86_64__
#define VLP_TARGET(name) __attribute__((target(name), flatten))
#endif

namespace vlp {
namespace {

constexpr int kVectors = 2;            // of rows in a block
constexpr int64_t kCodesAtOnce = 512;  // by one thread
constexpr int64_t kMostRows = kVectors * 16;
constexpr int64_t kSumsPerNumber = 16;  // multiplied and added while a number is read
constexpr int64_t kLine = 16;           // numbers of the cache

struct alignas(64) Line {
  float numbers[kLine];
};

struct Factors {
  const float *rows, *codes;
  int64_t num_rows, num_codes, width;
};

// A block of rows as columns, and sums of a tile.
struct Packed {
  std::vector<Line> columns, sums;
  int64_t first = -1;  // row, once there is one
};

template <int kLanes>
struct VectorOf {
  typedef float Type __attribute__((vector_size(kLanes * sizeof(float)), may_alias));
};

// Rows up to `count` of a block.
template <int kRows>
VLP_HOST_DEVICE void pack(const float* rows, int64_t count, int64_t width, float* columns) {
  for (int64_t first = 0; first < width; first += kLine)
    for (int64_t row = 0; row < kRows; ++row)
      for (int64_t k = first; k < smaller(first + kLine, width); ++k)
        columns[k * kRows + row] = row < count ? rows[row * width + k] : 0;
}

template <int kLanes, int kCodes>
VLP_HOST_DEVICE void multiply_tile(const float* columns, const float* const* codes, int64_t width,
                                   float* sums) {
  using Vector = typename VectorOf<kLanes>::Type;
  const auto* column = reinterpret_cast<const Vector*>(columns);
  Vector sum[kCodes][kVectors] = {};
  for (int64_t k = 0; k < width; ++k, column += kVectors) {
#pragma GCC unroll 16
    for (int code = 0; code < kCodes; ++code)
      for (int v = 0; v < kVectors; ++v) sum[code][v] += column[v] * codes[code][k];
  }
#pragma GCC unroll 16
  for (int code = 0; code < kCodes; ++code)
    for (int v = 0; v < kVectors; ++v) reinterpret_cast<Vector*>(sums)[code * kVectors + v] = sum[code][v];
}

// Of a block of rows, packed before, and codes [begin, end).
template <int kLanes, int kCodes>
VLP_HOST_DEVICE void multiply(const Factors& of, int64_t row, int64_t begin, int64_t end, Packed& packed,
                              float* products) {
  constexpr int64_t kRows = kLanes * kVectors;
  const int64_t num_rows = smaller(kRows, of.num_rows - row);
  auto* const columns = reinterpret_cast<float*>(packed.columns.data());  // null where there is no width
  float* const sums = packed.sums[0].numbers;
  if (packed.first != row) pack<kRows>(of.rows + row * of.width, num_rows, of.width, columns);
  packed.first = row;
  for (int64_t first = begin; first < end; first += kCodes) {
    const float* codes[kCodes];  // beyond the end the last again
    for (int64_t i = 0; i < kCodes; ++i) codes[i] = of.codes + smaller(first + i, end - 1) * of.width;
    multiply_tile<kLanes, kCodes>(columns, codes, of.width, sums);
    float* scores = products + row * of.num_codes + first;
    const int64_t num_codes = smaller<int64_t>(kCodes, end - first);
    for (int64_t r = 0; r < num_rows; ++r, scores += of.num_codes)
      for (int64_t i = 0; i < num_codes; ++i) scores[i] = sums[i * kRows + r];
  }
}

struct Multiplier {
  int64_t rows;
  void (*function)(const Factors&, int64_t, int64_t, int64_t, Packed&, float*);
};

#ifdef VLP_TARGET  // tiles that fill 16 of 32 registers, or 12 of 16, with sums
VLP_TARGET("avx512f")
void multiply_by_16(const Factors& of, int64_t row, int64_t begin, int64_t end, Packed& packed, float* out) {
  multiply<16, 8>(of, row, begin, end, packed, out);
}
VLP_TARGET("avx2,fma")
void multiply_by_8(const Factors& of, int64_t row, int64_t begin, int64_t end, Packed& packed, float* out) {
  multiply<8, 6>(of, row, begin, end, packed, out);
}
#endif

Multiplier fastest() {
#ifdef VLP_TARGET
  if (__builtin_cpu_supports("avx512f")) return {kVectors * 16, multiply_by_16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {kVectors * 8, multiply_by_8};
#endif
  return {kVectors * 4, multiply<4, 6>};
}

}  // namespace

bool multiplies_single() {
#ifdef VLP_TARGET
  return __builtin_cpu_is("amd") && fastest().function != multiply<4, 6>;
#endif
  return false;
}

void multiply_rows(const TensorView& rows, const TensorView& codes, const TensorView& products,
                   int64_t threads) {
  const char* function = "multiply_rows";
  check_ndim(function, "rows", rows, 2);
  check_ndim(function, "codes", codes, 2);
  const int64_t count = rows.size(0), num_codes = codes.size(0), width = rows.size(1);
  const Factors factors{whole_floats(function, "rows", rows, {count, width}),
                        whole_floats(function, "codes", codes, {num_codes, width}), count, num_codes, width};
  auto* const out = whole_floats(function, "products", products, {count, num_codes});
  const Multiplier multiplier = fastest();
  const int64_t parts = (num_codes + kCodesAtOnce - 1) / kCodesAtOnce;
  Shares shares((count + multiplier.rows - 1) / multiplier.rows * parts, 1);
  on_threads(worth_starting(threads, count * num_codes / kSumsPerNumber * width), [&] {
    Packed packed{std::vector<Line>(width * kMostRows / kLine), std::vector<Line>(kMostRows)};
    shares.each([&](int64_t share) {
      const int64_t begin = share % parts * kCodesAtOnce, end = smaller(begin + kCodesAtOnce, num_codes);
      multiplier.function(factors, share / parts * multiplier.rows, begin, end, packed, out);
    });
  });
}

}  // namespace vlp
