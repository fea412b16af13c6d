// Rows of numbers of any floating dtype and layout, read as float32 or float64 one row after the other.
#pragma once

#include <optional>

#include "any_float.h"
#include "check.h"

namespace vlp {

inline FloatKind float_kind(const char* function, const char* name, const TensorView& view) {
  if (view.dtype == kFloat16) return FloatKind::kHalf;
  if (view.dtype == kBFloat16) return FloatKind::kBrain;
  if (view.dtype == kFloat32) return FloatKind::kSingle;
  if (view.dtype == kFloat64) return FloatKind::kDouble;
  fail(function, name + (" is " + to_string(view.dtype)) + ", expected floating point");
}

// What is written to, or read number by number.
inline float* whole_floats(const char* function, const char* name, const TensorView& view,
                           std::initializer_list<int64_t> shape) {
  check_dtype(function, name, view, kFloat32);
  check_device(function, name, view, Device{kCPU, 0});
  check_shape(function, name, view, shape);
  check_contiguous(function, name, view);
  return view.ptr<float>();
}

struct FloatRows {
  const void* data;
  FloatKind kind;
  int64_t row_stride, stride, width;

  static FloatRows of(const char* function, const char* name, const TensorView& view) {
    check_ndim(function, name, view, 2);
    check_device(function, name, view, Device{kCPU, 0});
    return {view.ptr<void>(), float_kind(function, name, view), view.stride(0), view.stride(1), view.size(1)};
  }

  // Writes a row's numbers and returns whether all are finite.
  template <typename Real>
  VLP_HOST_DEVICE bool read(int64_t row, Real* out) const {
    const int64_t start = row * row_stride;
    switch (kind) {  // constants, so that each case becomes vector instructions
      case FloatKind::kHalf:
        return read_as(static_cast<const uint16_t*>(data) + start, FloatKind::kHalf, out);
      case FloatKind::kBrain:
        return read_as(static_cast<const uint16_t*>(data) + start, FloatKind::kBrain, out);
      case FloatKind::kSingle:
        return read_as(static_cast<const float*>(data) + start, FloatKind::kSingle, out);
      default:
        return read_as(static_cast<const double*>(data) + start, FloatKind::kDouble, out);
    }
  }

 private:
  template <typename Stored, typename Real>
  VLP_HOST_DEVICE bool read_as(const Stored* first, FloatKind kind, Real* out) const {
    const int64_t count = width, step = stride;
    if (step == 1) {
#pragma GCC ivdep
      for (int64_t i = 0; i < count; ++i) out[i] = load<Real>(first, kind, i);
    } else {
      for (int64_t i = 0; i < count; ++i) out[i] = load<Real>(first, kind, i * step);
    }
    Real zero = 0;  // NaN once something is not finite
#pragma omp simd reduction(+ : zero)
    for (int64_t i = 0; i < count; ++i) zero += 0 * out[i];
    return zero == 0;
  }
};

// One bool for a row, in any layout, or true for all.
struct Flags {
  const bool* data;
  int64_t stride;

  static Flags of(const char* function, const char* name, const std::optional<TensorView>& view,
                  int64_t count) {
    if (!view) return {nullptr, 0};
    check_dtype(function, name, *view, kBool);
    check_device(function, name, *view, Device{kCPU, 0});
    check_shape(function, name, *view, {count});
    return {view->ptr<bool>(), view->stride(0)};
  }
  bool operator[](int64_t row) const { return data == nullptr || data[row * stride]; }
};

}  // namespace vlp
