// The dictionary's search on the CPU, a chunk of rows at a time: rows are centred and rounded here, a library
// multiplies them by the codes, and here each row's nearest code is decided. Rows are independent of each
// other.
#include <cmath>
#include <vector>

#include "certificate.h"
#include "cpu/float_rows.h"
#include "cpu/operand.h"
#include "cpu/threads.h"
#include "cpu/vector_clones.h"
#include "ops.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace vlp {
namespace {

constexpr int64_t kRowsAtOnce = 8;

template <typename Operand>
VLP_HOST_DEVICE RowBounds centre(const FloatRows& x, int64_t row, const float* centre, float* values,
                                 typename Operand::Stored* operand) {
  const bool is_good = x.read(row, values);
  const int64_t width = x.width;
  float squares = 0, lost = 0;
#pragma omp simd reduction(+ : squares, lost)
  for (int64_t k = 0; k < width; ++k) {
    const float shifted = values[k] - centre[k];
    const auto rounded = Operand::round(shifted);
    const float kept = Operand::widen(rounded);
    operand[k] = rounded;
    squares += kept * kept;
    lost += (shifted - kept) * (shifted - kept);
  }
  const RowBounds bounds = RowBounds::of(squares, lost, width, false);
  return is_good ? bounds : RowBounds{kNaN, kNaN};
}
VLP_VECTOR_CLONES RowBounds centre_row(const FloatRows& x, int64_t row, const float* around, float* values,
                                       uint16_t* operand) {
  return centre<BrainOperand>(x, row, around, values, operand);
}
VLP_VECTOR_CLONES RowBounds centre_row(const FloatRows& x, int64_t row, const float* around, float* values,
                                       float* operand) {
  return centre<SingleOperand>(x, row, around, values, operand);
}

// Codes, and of their terms those that a search around their centre reads.
struct Codes {
  const float *vectors, *bias, *residuals, *norms;
  int64_t count, width;
};

// Integers in the order of floats, whose maximum compilers turn into vector instructions as they do not with
// that of floats. NaN is below or above all.
VLP_HOST_DEVICE int32_t ordered(float value) {
  const auto bits = static_cast<int32_t>(to_bits(value));
  return bits ^ (bits >> 31 & INT32_MAX);
}
VLP_HOST_DEVICE float unordered(int32_t rank) {
  return from_bits(static_cast<uint32_t>(rank ^ (rank >> 31 & INT32_MAX)));
}

// Writes the codes that may be the nearest, judging by the products of a row, and returns how many. Where
// something is not finite no bound holds, and all may be.
template <typename Operand>
VLP_HOST_DEVICE int64_t in_doubt(const typename Operand::Stored* products, const Codes& codes,
                                 const ProductError& error, float* highest, int32_t* found) {
  const float *bias = codes.bias, *residuals = codes.residuals, *norms = codes.norms;
  const int64_t count = codes.count;
  constexpr float kRelative = Operand::kStoredProduct + kSubtraction;
  int32_t lead = INT32_MIN;
  float zero = 0;
#pragma omp simd reduction(max : lead) reduction(+ : zero)
  for (int64_t j = 0; j < count; ++j) {
    const float product = Operand::widen(products[j]), score = product - bias[j];
    const float radius =
        error(norms[j], residuals[j]) + kRelative * std::abs(product) + kSubtraction * bias[j];
    highest[j] = score + radius;
    zero += 0 * highest[j];
    const int32_t lowest = ordered(score - radius);
    lead = lowest > lead ? lowest : lead;
  }
  const float limit = zero == 0 ? unordered(lead) : -static_cast<float>(kInfinity);
  constexpr int64_t kBlock = 64;
  int64_t doubts = 0;
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t last = smaller(first + kBlock, count);
    int32_t any = 0;
#pragma omp simd reduction(| : any)
    for (int64_t j = first; j < last; ++j) any |= !(highest[j] < limit);
    for (int64_t j = first; any && j < last; ++j)
      if (!(highest[j] < limit)) found[doubts++] = static_cast<int32_t>(j);
  }
  return doubts;
}
VLP_VECTOR_CLONES int64_t codes_in_doubt(const uint16_t* products, const Codes& codes,
                                         const ProductError& error, float* highest, int32_t* found) {
  return in_doubt<BrainOperand>(products, codes, error, highest, found);
}
VLP_VECTOR_CLONES int64_t codes_in_doubt(const float* products, const Codes& codes, const ProductError& error,
                                         float* highest, int32_t* found) {
  return in_doubt<SingleOperand>(products, codes, error, highest, found);
}

// The first of some codes that float64 does not tell from the nearest.
VLP_VECTOR_CLONES int64_t first_nearest(const float* row, const Codes& codes, const int32_t* some,
                                        int64_t count, double* distances) {
  double nearest = kInfinity;
  for (int64_t i = 0; i < count; ++i) {
    const float* code = codes.vectors + some[i] * codes.width;
    double distance = 0;
#pragma omp simd reduction(+ : distance)
    for (int64_t k = 0; k < codes.width; ++k) {
      const double difference = static_cast<double>(row[k]) - static_cast<double>(code[k]);
      distance += difference * difference;
    }
    distances[i] = distance;
    nearest = smaller(nearest, distance);
  }
  const double limit = nearest + nearest * equal_distances(codes.width);
  int64_t first = 0;
  while (distances[first] > limit) ++first;
  return some[first];
}

// One thread's memory.
class Judge {
 public:
  Judge(const FloatRows& x, const Codes& codes, float accumulation)
      : x_(x),
        codes_(codes),
        accumulation_(accumulation),
        row_(x.width),
        highest_(codes.count),
        doubts_(codes.count) {}

  template <typename Stored>
  int64_t operator()(int64_t row, const Stored* products, const RowBounds& bounds) {
    const auto error = ProductError::of(bounds, codes_.width, accumulation_);
    const int64_t count = codes_in_doubt(products, codes_, error, highest_.data(), doubts_.data());
    if (count == 1) return doubts_[0];
    x_.read(row, row_.data());
    distances_.resize(std::max<size_t>(distances_.size(), count));
    return first_nearest(row_.data(), codes_, doubts_.data(), count, distances_.data());
  }

 private:
  const FloatRows& x_;
  const Codes& codes_;
  const float accumulation_;
  std::vector<float> row_, highest_;
  std::vector<int32_t> doubts_;
  std::vector<double> distances_;
};

Codes codes_of(const char* function, const TensorView& codes, const TensorView& terms, int64_t width) {
  check_ndim(function, "codes", codes, 2);
  const int64_t count = codes.size(0);
  if (count < 1 || count > INT32_MAX)
    fail(function, std::to_string(count) + " codes, expected 1 to 2^31 - 1");
  const float* vectors = whole_floats(function, "codes", codes, {count, width});
  const float* term = whole_floats(function, "terms", terms, {4, count});
  return {vectors, term, term + 2 * count, term + 3 * count, count, width};
}

}  // namespace

bool multiplies_brain() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long kBrain = 1ul << 14;  // HWCAP2_BF16
  return (getauxval(AT_HWCAP2) & kBrain) != 0;
#else
  return false;
#endif
}

void centre_rows(const TensorView& x, const TensorView& centre, const TensorView& operand,
                 const TensorView& bounds, int64_t threads) {
  const char* function = "centre_rows";
  const FloatRows rows = FloatRows::of(function, "x", x);
  const int64_t count = x.size(0);
  const float* around = whole_floats(function, "centre", centre, {rows.width});
  auto* const bounds_of = reinterpret_cast<RowBounds*>(whole_floats(function, "bounds", bounds, {count, 2}));
  check_shape(function, "operand", operand, {count, rows.width});
  dispatch_operand(function, "operand", operand, [&](auto* rounded) {
    Shares shares(count, kRowsAtOnce);
    on_threads(worth_starting(threads, count * rows.width), [&] {
      std::vector<float> values(rows.width);
      shares.each([&](int64_t row) {
        bounds_of[row] = centre_row(rows, row, around, values.data(), rounded + row * rows.width);
      });
    });
  });
}

void decide_rows(const TensorView& products, const TensorView& bounds, const TensorView& x,
                 const TensorView& codes, const TensorView& terms, const std::optional<TensorView>& valid,
                 int64_t excluded, double rounding, const TensorView& indices, int64_t threads) {
  const char* function = "decide_rows";
  const FloatRows rows = FloatRows::of(function, "x", x);
  const int64_t count = x.size(0);
  const Codes all = codes_of(function, codes, terms, rows.width);
  const auto* bounds_of = reinterpret_cast<RowBounds*>(whole_floats(function, "bounds", bounds, {count, 2}));
  check_shape(function, "products", products, {count, all.count});
  const auto accumulation = static_cast<float>(kAccumulation + rounding / larger<double>(rows.width, 1));
  const Flags is_valid = Flags::of(function, "valid", valid, count);
  check_dtype(function, "indices", indices, kInt64);
  check_device(function, "indices", indices, Device{kCPU, 0});
  check_shape(function, "indices", indices, {count});
  check_contiguous(function, "indices", indices);
  auto* const found = indices.ptr<int64_t>();
  dispatch_operand(function, "products", products, [&](const auto* scores) {
    Shares shares(count, kRowsAtOnce);
    on_threads(worth_starting(threads, count * all.count), [&] {
      Judge judge(rows, all, accumulation);
      shares.each([&](int64_t row) {
        const bool counts = is_valid[row] && bounds_of[row].norm == bounds_of[row].norm;
        found[row] = counts ? judge(row, scores + row * all.count, bounds_of[row]) : excluded;
      });
    });
  });
}

}  // namespace vlp
