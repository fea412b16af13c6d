// The dtypes that products are taken in: rounding to the nearest, ties to even, and back.
#pragma once

#include "any_float.h"
#include "check.h"
#include "dispatch.h"

namespace vlp {

VLP_HOST_DEVICE uint32_t to_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

struct SingleOperand {
  using Stored = float;
  static constexpr float kLargest = 0x1.fffffep127f;
  static constexpr bool kIsExact = true;      // of float32
  static constexpr float kStoredProduct = 0;  // rounding of a product that is stored in this dtype

  VLP_HOST_DEVICE static float round(float value) { return value; }
  VLP_HOST_DEVICE static float widen(float value) { return value; }
};

struct BrainOperand {
  using Stored = uint16_t;
  static constexpr float kLargest = 0x1.fep127f;
  static constexpr bool kIsExact = false;
  static constexpr float kStoredProduct = 0x1p-8f;

  // Not of NaN.
  VLP_HOST_DEVICE static uint16_t round(float value) {
    const uint32_t bits = to_bits(value);
    return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
  VLP_HOST_DEVICE static float widen(uint16_t value) { return from_bits(static_cast<uint32_t>(value) << 16); }
};

struct HalfOperand {
  using Stored = uint16_t;
  static constexpr float kLargest = 65504;

  // Up to kLargest. Below the normal numbers the sum with 1/2 rounds to what a subnormal number can hold.
  VLP_HOST_DEVICE static uint16_t round(float value) {
    const uint32_t sign = to_bits(value) >> 16 & 0x8000, rest = to_bits(value) & 0x7fffffff;
    const uint32_t normal = (rest + 0xfff + ((rest >> 13) & 1) - 0x38000000) >> 13;
    const uint32_t subnormal = to_bits(from_bits(rest) + 0.5f) - to_bits(0.5f);
    return static_cast<uint16_t>(sign | (rest < 0x38800000 ? subnormal : normal));
  }
  VLP_HOST_DEVICE static float widen(uint16_t value) { return from_half(value); }
};

// Calls body(Type<Operand>{}) with the operand of a view's dtype.
template <typename Body>
void dispatch_operand(const char* function, const char* name, const TensorView& view, Body&& body) {
  if (view.dtype == kFloat32) return body(Type<SingleOperand>{});
  if (view.dtype == kBFloat16) return body(Type<BrainOperand>{});
  if (view.dtype == kFloat16) return body(Type<HalfOperand>{});
  fail(function, name + (" is " + to_string(view.dtype)) + ", expected float32, bfloat16 or float16");
}

}  // namespace vlp
