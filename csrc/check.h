// Checks at the boundary: the safety net behind the checks in Python. Each raises ValueError as
// "function: argument is ..., expected ...". None touches Python, so they run without the GIL.
#pragma once

#include <initializer_list>
#include <stdexcept>
#include <string>

#include "tensor_view.h"

namespace vlp {

inline std::string to_string(DType dtype) {
  const char* kinds[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  return (dtype.code < 7 ? kinds[dtype.code] : "dtype") + std::to_string(dtype.bits);
}

inline std::string to_string(Device device) {
  if (device.type == kCPU) return "cpu";
  if (device.type == kCUDA) return "cuda:" + std::to_string(device.index);
  return "DLPack device type " + std::to_string(device.type);
}

inline std::string shape_string(const TensorView& view) {
  std::string text;
  for (int dim = 0; dim < view.ndim; ++dim) text += (dim ? ", " : "") + std::to_string(view.size(dim));
  return "(" + text + ")";
}

[[noreturn]] inline void fail(const char* function, const std::string& message) {
  throw std::invalid_argument(std::string(function) + ": " + message);
}

inline void check_dtype(const char* function, const char* name, const TensorView& view, DType expected) {
  if (view.dtype == expected) return;
  fail(function, name + (" is " + to_string(view.dtype)) + ", expected " + to_string(expected));
}

// On a GPU the index counts too: a kernel cannot reach the memory of another one.
inline void check_device(const char* function, const char* name, const TensorView& view, Device expected) {
  const bool is_same =
      view.device.type == expected.type && (expected.type == kCPU || view.device.index == expected.index);
  if (is_same) return;
  const std::string wanted =
      view.device.type != expected.type && expected.type == kCUDA ? "a CUDA device" : to_string(expected);
  fail(function, name + (" is on " + to_string(view.device)) + ", expected " + wanted);
}

inline void check_ndim(const char* function, const char* name, const TensorView& view, int expected) {
  if (view.ndim == expected) return;
  fail(function, name + (" has shape " + shape_string(view)) + ", expected " + std::to_string(expected) +
                     " dimensions");
}

inline void check_shape(const char* function, const char* name, const TensorView& view,
                        std::initializer_list<int64_t> expected) {
  bool same = view.ndim == static_cast<int>(expected.size());
  std::string text;
  int dim = 0;
  for (int64_t size : expected) {
    same = same && view.size(dim) == size;
    text += (dim ? ", " : "") + std::to_string(size);
    ++dim;
  }
  if (!same) fail(function, name + (" has shape " + shape_string(view)) + ", expected (" + text + ")");
}

inline void check_contiguous(const char* function, const char* name, const TensorView& view) {
  if (!view.is_contiguous()) fail(function, std::string(name) + " is not contiguous; call .contiguous()");
}

// Dense, of this dtype and shape, on this device.
inline void check_matrix(const char* function, const char* name, const TensorView& view, DType dtype,
                         std::initializer_list<int64_t> shape, Device device) {
  check_device(function, name, view, device);
  check_dtype(function, name, view, dtype);
  check_shape(function, name, view, shape);
  check_contiguous(function, name, view);
}

// To what a thread moves at once.
inline bool is_aligned(const TensorView& view) {
  return reinterpret_cast<uintptr_t>(view.ptr<char>()) % 16 == 0;
}

}  // namespace vlp
