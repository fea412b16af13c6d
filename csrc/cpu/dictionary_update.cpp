// The dictionary's moving averages on the CPU, and what a search needs of the codes, in one pass over them.
#include <vector>

#include "cpu/float_rows.h"
#include "cpu/operand.h"
#include "cpu/threads.h"
#include "cpu/vector_clones.h"
#include "moving_average.h"
#include "ops.h"

namespace vlp {
namespace {

constexpr int64_t kCodesAtOnce = 16;

template <typename Operand>
VLP_HOST_DEVICE CodeSums prepare(const float* code, const float* centre, int64_t width,
                                 typename Operand::Stored* operand) {
  constexpr double kLargest = Operand::kLargest;
  double shifted = 0, bias = 0, residual = 0;
#pragma omp simd reduction(+ : shifted, bias, residual)
  for (int64_t k = 0; k < width; ++k) {
    const double shift = CodeSums::shift(code[k], centre[k]);
    const double below = shift < kLargest ? shift : kLargest;
    const auto rounded = Operand::round(static_cast<float>(below > -kLargest ? below : -kLargest));
    operand[k] = rounded;
    CodeSums one;
    one.add(code[k], centre[k], Operand::widen(rounded));
    shifted += one.shifted;
    bias += one.bias;
    residual += one.residual;
  }
  return {shifted, bias, residual};
}
VLP_VECTOR_CLONES CodeSums prepare_code(Type<SingleOperand>, const float* code, const float* centre,
                                        int64_t width, float* operand) {
  return prepare<SingleOperand>(code, centre, width, operand);
}
VLP_VECTOR_CLONES CodeSums prepare_code(Type<BrainOperand>, const float* code, const float* centre,
                                        int64_t width, uint16_t* operand) {
  return prepare<BrainOperand>(code, centre, width, operand);
}
VLP_VECTOR_CLONES CodeSums prepare_code(Type<HalfOperand>, const float* code, const float* centre,
                                        int64_t width, uint16_t* operand) {
  return prepare<HalfOperand>(code, centre, width, operand);
}

VLP_VECTOR_CLONES void move_code(const TowardsMean& rule, float* code, const float* sums, float count,
                                 int64_t width) {
  for (int64_t k = 0; k < width; ++k) code[k] = rule(code[k], sums[k], count);
}
VLP_VECTOR_CLONES void move_code(const Decay& decay, const Smoothing& rule, float smoothed_size, float* code,
                                 float* average, const float* sums, int64_t width) {
#pragma GCC ivdep
  for (int64_t k = 0; k < width; ++k) {
    average[k] = decay(average[k], sums[k]);
    code[k] = rule.code(code[k], average[k], smoothed_size);
  }
}

// Calls move(j) for every code, if there is a move, and prepares it, if it is to be prepared.
template <typename Move>
void each_code(const char* function, const TensorView& codes, const std::optional<PreparedView>& prepared,
               int64_t threads, Move&& move) {
  check_ndim(function, "codes", codes, 2);
  const int64_t count = codes.size(0), width = codes.size(1);
  const float* vectors = whole_floats(function, "codes", codes, {count, width});
  Shares shares(count, kCodesAtOnce);
  const int64_t worth = worth_starting(threads, count * width);
  if (!prepared) return on_threads(worth, [&] { shares.each(move); });
  const float* centre = whole_floats(function, "centre", prepared->centre, {width});
  float* const terms = whole_floats(function, "terms", prepared->terms, {4, count});
  const TensorView& operand = prepared->operand;
  check_device(function, "operand", operand, Device{kCPU, 0});
  check_shape(function, "operand", operand, {count, width});
  check_contiguous(function, "operand", operand);
  dispatch_operand(function, "operand", operand, [&](auto type) {
    auto* const rounded = operand.ptr<typename decltype(type)::type::Stored>();
    on_threads(worth, [&] {
      shares.each([&](int64_t j) {
        move(j);
        const CodeSums sums = prepare_code(type, vectors + j * width, centre, width, rounded + j * width);
        for (int32_t term = 0; term < 4; ++term) terms[term * count + j] = sums.term(term);
      });
    });
  });
}

}  // namespace

void prepare_codes(const TensorView& codes, const PreparedView& prepared, int64_t threads) {
  each_code("prepare_codes", codes, prepared, threads, [](int64_t) {});
}

void ema_update(const TensorView& codes, const TensorView& sums, const TensorView& counts, double momentum,
                const std::optional<PreparedView>& prepared, int64_t threads) {
  const char* function = "ema_update";
  check_ndim(function, "codes", codes, 2);
  const int64_t count = codes.size(0), width = codes.size(1);
  float* const code = whole_floats(function, "codes", codes, {count, width});
  const float* sum = whole_floats(function, "sums", sums, {count, width});
  const float* rows = whole_floats(function, "counts", counts, {count});
  const TowardsMean rule{static_cast<float>(momentum)};
  each_code(function, codes, prepared, threads,
            [&](int64_t j) { move_code(rule, code + j * width, sum + j * width, rows[j], width); });
}

void laplace_ema_update(const TensorView& codes, const TensorView& embed_avg, const TensorView& cluster_size,
                        const TensorView& sums, const TensorView& counts, double momentum, double eps,
                        const std::optional<PreparedView>& prepared, int64_t threads) {
  const char* function = "laplace_ema_update";
  check_ndim(function, "codes", codes, 2);
  const int64_t count = codes.size(0), width = codes.size(1);
  float* const code = whole_floats(function, "codes", codes, {count, width});
  float* const average = whole_floats(function, "embed_avg", embed_avg, {count, width});
  float* const size = whole_floats(function, "cluster_size", cluster_size, {count});
  const float* sum = whole_floats(function, "sums", sums, {count, width});
  const float* rows = whole_floats(function, "counts", counts, {count});
  const Decay decay{static_cast<float>(momentum), static_cast<float>(1 - momentum)};
  double total = 0;
  for (int64_t j = 0; j < count; ++j) total += size[j] = decay(size[j], rows[j]);
  const Smoothing rule{static_cast<float>(total),
                       static_cast<float>(total + static_cast<double>(count) * eps), static_cast<float>(eps)};
  each_code(function, codes, prepared, threads, [&](int64_t j) {
    const int64_t first = j * width;
    move_code(decay, rule, rule.size(size[j]), code + first, average + first, sum + first, width);
  });
}

}  // namespace vlp
