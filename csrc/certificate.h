// How far a score of the dictionary's search can be from the true one, so that a lead is a proof.
//
// Of a row x and a code d around a centre c, x' = x - c and d' = d - c, the score is x'.d' - |d'|^2 / 2, the
// largest of which is the nearest code's. Products are taken of rounded operands, h of x' and o of d'. As
// x'.d' - h.o = (x' - h).d' + h.(d' - o), the error is linear in what is known of the code, and so is this
// bound. Whatever overflows makes it infinite or NaN: compare such that this proves nothing.
#pragma once

#include "host_device.h"

namespace vlp {

// Of float32 sums of products in any order: products of half precision are exact, tensor cores truncate.
constexpr float kAccumulation = 0x1p-22f;
// Of the product and of the bias in their float32 difference, twice over.
constexpr float kSubtraction = 0x1p-22f;
// Of a product that is stored as a bfloat16, in parts of what is stored.
constexpr float kStoredAsBrain = 0x1p-8f;
// Of x - c in float32, in parts of the result.
constexpr float kCentring = 0x1p-24f;

// A bound of the Euclidean norm from a float32 sum of squares, added up in any order. Squares and sums that
// underflow are flushed in the worst case.
VLP_HOST_DEVICE float norm_bound(float sum_of_squares, int64_t width) {
  const float count = static_cast<float>(width);
  return sqrtf((sum_of_squares + count * 0x1p-125f) * (1 + (count + 8) * 0x1p-22f));
}

// What is known of a row: at least |h| and at least |x' - h|.
struct RowBounds {
  float norm, residual;

  // From float32 sums of squares of h and of x' - h; x' itself rounded unless is_exact.
  VLP_HOST_DEVICE static RowBounds of(float squares, float residual_squares, int64_t width, bool is_exact) {
    const float norm = norm_bound(squares, width), residual = norm_bound(residual_squares, width);
    return {norm, is_exact ? residual : residual + 2 * kCentring * (norm + residual)};
  }
};

// What is known of a code: sums over its numbers, of which its column of `terms` is made.
struct CodeSums {
  double shifted = 0;   // |d - c|^2
  double bias = 0;      // |d|^2 - |c|^2
  double residual = 0;  // |d - c - operand|^2

  // operand: of `shift(code, centre)`, as it was rounded.
  VLP_HOST_DEVICE static double shift(float code, float centre) {
    return static_cast<double>(code) - static_cast<double>(centre);
  }
  VLP_HOST_DEVICE void add(float code, float centre, float operand) {
    const double difference = shift(code, centre), lost = difference - static_cast<double>(operand);
    shifted += difference * difference;
    bias += difference * (static_cast<double>(code) + static_cast<double>(centre));
    residual += lost * lost;
  }
  // Bounds stay bounds when they are rounded.
  VLP_HOST_DEVICE float term(int32_t number) const {
    constexpr double kUp = 1 + 0x1p-22;
    switch (number) {
      case 0:
        return static_cast<float>(shifted / 2);
      case 1:
        return static_cast<float>(bias / 2);
      case 2:
        return static_cast<float>(sqrt(residual) * kUp);
      default:
        return static_cast<float>(sqrt(shifted) * kUp);
    }
  }
};

// |computed h.o - true x'.d'| of a row and any code.
struct ProductError {
  float per_norm;      // times a bound of |d'|, terms[3]
  float per_residual;  // times a bound of |d' - o|, terms[2]
  float absolute;      // for what is too small to be a normal number

  VLP_HOST_DEVICE static ProductError of(const RowBounds& row, int64_t width, float accumulation) {
    const float count = static_cast<float>(width), up = 1 + 0x1p-20f;
    const float sum = count * accumulation * row.norm;  // |o| <= |d'| + |d' - o|
    return {(row.residual + sum + count * 0x1p-126f) * up, (row.norm + sum) * up,
            count * (1 + row.norm) * 0x1p-120f};
  }

  VLP_HOST_DEVICE float operator()(float code_norm, float code_residual) const {
    return per_norm * code_norm + per_residual * code_residual + absolute;
  }
};

// Two float64 distances, each a sum over the width, that are to count as equal differ by this part of them.
VLP_HOST_DEVICE double equal_distances(int64_t width) { return 0x1p-50 * sqrt(static_cast<double>(width)); }

}  // namespace vlp
