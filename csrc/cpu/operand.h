// The dtypes that products are taken in: rounding to the nearest, ties to even, and back.
#pragma once

#include "any_float.h"
#include "check.h"

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

// Calls body(data) with a pointer to what an operand, or a product of two, is stored as.
template <typename Body>
void dispatch_operand(const char* function, const char* name, const TensorView& view, Body&& body) {
  check_device(function, name, view, Device{kCPU, 0});
  check_contiguous(function, name, view);
  if (view.dtype == kBFloat16) return body(view.ptr<uint16_t>());
  if (view.dtype == kFloat32) return body(view.ptr<float>());
  fail(function, name + (" is " + to_string(view.dtype)) + ", expected bfloat16 or float32");
}

}  // namespace vlp
