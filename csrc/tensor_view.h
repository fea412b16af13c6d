// A borrowed view of a framework's tensor. Nothing here includes or links libtorch, so one binary serves
// every torch, nor pybind11, which most files have no use for. Layouts:
// https://dmlc.github.io/dlpack/latest/c_api.html
//
// A view is valid while the Python argument it was taken from is alive, that is for the length of the call.
#pragma once

#include <cstdint>

namespace vlp {

enum DeviceType : int32_t { kCPU = 1, kCUDA = 2, kCUDAHost = 3 };

struct Device {
  int32_t type, index;
};

struct DType {
  uint8_t code, bits;
  uint16_t lanes;

  bool operator==(const DType& other) const {
    return code == other.code && bits == other.bits && lanes == other.lanes;
  }
  bool operator!=(const DType& other) const { return !(*this == other); }
};

inline constexpr DType kInt8{0, 8, 1}, kInt32{0, 32, 1}, kInt64{0, 64, 1}, kBool{6, 8, 1};
inline constexpr DType kFloat16{2, 16, 1}, kBFloat16{4, 16, 1}, kFloat32{2, 32, 1}, kFloat64{2, 64, 1};

struct TensorView {  // DLTensor
  void* data;
  Device device;
  int32_t ndim;
  DType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; an expanded dimension has 0
  uint64_t byte_offset;

  template <typename T>
  T* ptr() const {
    return reinterpret_cast<T*>(static_cast<char*>(data) + byte_offset);
  }
  int64_t size(int dim) const { return shape[dim]; }
  int64_t stride(int dim) const { return strides[dim]; }

  bool is_contiguous() const {
    int64_t expected = 1;
    for (int dim = ndim - 1; dim >= 0; --dim) {
      if (shape[dim] == 0) return true;
      if (shape[dim] != 1 && strides[dim] != expected) return false;
      expected *= shape[dim];
    }
    return true;
  }
};

static_assert(sizeof(TensorView) == 48, "must match DLPack's layout");

// A CUDA tensor with the stream that its framework currently uses on its device: work launched there is
// ordered with the caller's, captured by CUDA graphs, and needs no synchronisation.
struct StreamView {
  TensorView view;
  void* stream;  // a cudaStream_t; null is the default stream
};

}  // namespace vlp
