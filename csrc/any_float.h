// Numbers of any floating dtype, read one by one where they lie: half precision needs no copy in float32.
#pragma once

#include "host_device.h"

namespace vlp {

enum class FloatKind : int32_t { kHalf, kBrain, kSingle, kDouble };

VLP_HOST_DEVICE float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// IEEE half precision: the exponent moves by a multiplication, which subnormal numbers survive.
VLP_HOST_DEVICE float from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t rest = static_cast<uint32_t>(half & 0x7fff) << 13;
  const bool is_finite = (half & 0x7c00) != 0x7c00;
  const float value = is_finite ? from_bits(rest) * from_bits(0x77800000) : from_bits(rest | 0x7f800000);
  return sign != 0 ? -value : value;
}

template <typename Real>
VLP_HOST_DEVICE Real load(const void* data, FloatKind kind, int64_t place) {
  switch (kind) {
    case FloatKind::kHalf:
      return from_half(read_only(static_cast<const uint16_t*>(data) + place));
    case FloatKind::kBrain:
      return from_bits(static_cast<uint32_t>(read_only(static_cast<const uint16_t*>(data) + place)) << 16);
    case FloatKind::kSingle:
      return read_only(static_cast<const float*>(data) + place);
    default:
      return static_cast<Real>(read_only(static_cast<const double*>(data) + place));
  }
}

// The N numbers of one query.
template <typename Real>
struct Row {
  const void* data;
  FloatKind kind;
  int64_t start, stride, size;

  VLP_HOST_DEVICE Real operator[](int64_t entry) const {
    return load<Real>(data, kind, start + entry * stride);
  }
};

// (A, B, Q, N) predictions in any layout; data is null where the model has none of the kind.
struct Predicted {
  const void* data;
  FloatKind kind;
  int64_t strides[4];
  int64_t size;  // N

  template <typename Real>
  VLP_HOST_DEVICE Row<Real> row(int64_t layer, int64_t image, int64_t query) const {
    return {data, kind, layer * strides[0] + image * strides[1] + query * strides[2], strides[3], size};
  }
};

}  // namespace vlp
