// Tensors of the dictionary's CUDA functions, checked.
#pragma once

#include <algorithm>
#include <optional>

#include "check.h"
#include "cuda/rows.cuh"
#include "cuda/stream.h"

namespace vlp {

inline FloatKind float_kind(const char* function, const char* name, const TensorView& view) {
  if (view.dtype == kFloat16) return FloatKind::kHalf;
  if (view.dtype == kBFloat16) return FloatKind::kBrain;
  check_dtype(function, name, view, kFloat32);
  return FloatKind::kSingle;
}

inline Rows rows_of(const char* function, const TensorView& x, const std::optional<TensorView>& valid,
                    Device device) {
  check_device(function, "x", x, device);
  check_ndim(function, "x", x, 2);
  const FloatKind kind = float_kind(function, "x", x);
  if (valid) {
    check_device(function, "valid", *valid, device);
    check_dtype(function, "valid", *valid, kBool);
    check_shape(function, "valid", *valid, {x.size(0)});
  }
  if (x.size(1) > INT32_MAX - kSegment)
    fail(function, "x has width " + std::to_string(x.size(1)) + ", expected less than 2^31");
  const int64_t per_load = 128 / x.dtype.bits;
  const bool are_aligned = x.stride(1) == 1 && x.stride(0) % per_load == 0 && is_aligned(x);
  return {x.ptr<void>(),
          kind,
          x.size(0),
          x.stride(0),
          x.stride(1),
          static_cast<int32_t>(x.size(1)),
          are_aligned,
          valid ? valid->ptr<unsigned char>() : nullptr,
          valid ? valid->stride(0) : 0};
}

}  // namespace vlp
