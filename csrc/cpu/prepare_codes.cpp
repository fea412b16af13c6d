// Codes for the search on the CPU: rounded around a centre, and what bounds their rounding.
#include "certificate.h"
#include "cpu/float_rows.h"
#include "cpu/operand.h"
#include "cpu/threads.h"
#include "cpu/vector_clones.h"
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
VLP_VECTOR_CLONES CodeSums prepare_code(const float* code, const float* centre, int64_t width,
                                        float* operand) {
  return prepare<SingleOperand>(code, centre, width, operand);
}
VLP_VECTOR_CLONES CodeSums prepare_code(const float* code, const float* centre, int64_t width,
                                        uint16_t* operand) {
  return prepare<BrainOperand>(code, centre, width, operand);
}

}  // namespace

void prepare_codes(const TensorView& codes, const TensorView& operand, const TensorView& terms,
                   const TensorView& centre, int64_t threads) {
  const char* function = "prepare_codes";
  check_ndim(function, "codes", codes, 2);
  const int64_t count = codes.size(0), width = codes.size(1);
  const float* vectors = whole_floats(function, "codes", codes, {count, width});
  const float* around = whole_floats(function, "centre", centre, {width});
  float* const term = whole_floats(function, "terms", terms, {4, count});
  check_shape(function, "operand", operand, {count, width});
  dispatch_operand(function, "operand", operand, [&](auto* rounded) {
    Shares shares(count, kCodesAtOnce);
    on_threads(worth_starting(threads, count * width), [&] {
      shares.each([&](int64_t j) {
        const CodeSums sums = prepare_code(vectors + j * width, around, width, rounded + j * width);
        for (int32_t number = 0; number < 4; ++number) term[number * count + j] = sums.term(number);
      });
    });
  });
}

}  // namespace vlp
