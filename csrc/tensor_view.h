// A borrowed view of a framework's tensor, taken through the DLPack C exchange API that its class carries
// (`torch.Tensor.__dlpack_c_exchange_api__`, torch >= 2.11). Nothing here includes or links libtorch, so one
// binary serves every torch. Layouts: https://dmlc.github.io/dlpack/latest/c_api.html
//
// A view is valid while the Python argument it was taken from is alive, that is for the length of the call.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>

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

struct ExchangeAPI {  // DLPackExchangeAPI
  static constexpr uint32_t kMajor = 1;
  uint32_t major, minor;
  const ExchangeAPI* previous;
  void* managed_tensor_functions[3];
  int (*view_of)(void* py_object, TensorView* out);  // may be null
  int (*current_stream)(int32_t device_type, int32_t device_index, void** out);
};

static_assert(sizeof(TensorView) == 48 && sizeof(ExchangeAPI) == 56, "must match DLPack's layout");

// The API of an object's class, or null if the class has none that this code understands.
inline const ExchangeAPI* exchange_api(PyObject* object) {
  namespace py = pybind11;
  static PyTypeObject* known_type = nullptr;  // nearly every argument is a plain torch.Tensor
  static const ExchangeAPI* known_api = nullptr;
  if (Py_TYPE(object) == known_type) return known_api;

  py::handle type(reinterpret_cast<PyObject*>(Py_TYPE(object)));
  py::object capsule = py::getattr(type, "__dlpack_c_exchange_api__", py::none());
  if (capsule.is_none()) return nullptr;
  auto* api = static_cast<const ExchangeAPI*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (api == nullptr) throw py::error_already_set();
  while (api != nullptr && api->major != ExchangeAPI::kMajor) api = api->previous;
  if (api == nullptr || api->view_of == nullptr) return nullptr;

  if (known_type == nullptr) {
    known_type = reinterpret_cast<PyTypeObject*>(type.inc_ref().ptr());  // kept: its address stays taken
    known_api = api;
  }
  return api;
}

// A CUDA tensor with the stream that its framework currently uses on its device: work launched there is
// ordered with the caller's, captured by CUDA graphs, and needs no synchronisation.
struct StreamView {
  TensorView view;
  void* stream;  // a cudaStream_t; null is the default stream
};

}  // namespace vlp

namespace pybind11::detail {

// Raises instead of returning false: pybind11's own TypeError would print whole tensors.
inline const vlp::ExchangeAPI& require_exchange_api(handle source) {
  const vlp::ExchangeAPI* api = vlp::exchange_api(source.ptr());
  if (api != nullptr) return *api;
  throw type_error(std::string("vlp_fast._C: received a ") + Py_TYPE(source.ptr())->tp_name +
                   ", expected a torch.Tensor of torch >= 2.11");
}

inline bool load_view(handle source, vlp::TensorView& out) {
  if (require_exchange_api(source).view_of(source.ptr(), &out) != 0) throw error_already_set();
  return true;
}

template <>
struct type_caster<vlp::TensorView> {
  PYBIND11_TYPE_CASTER(vlp::TensorView, const_name("torch.Tensor"));

  bool load(handle source, bool) { return load_view(source, value); }
};

template <>
struct type_caster<vlp::StreamView> {
  PYBIND11_TYPE_CASTER(vlp::StreamView, const_name("torch.Tensor"));

  bool load(handle source, bool) {
    load_view(source, value.view);
    const vlp::Device device = value.view.device;
    value.stream = nullptr;
    if (device.type != vlp::kCUDA) return true;  // check_device says so, with the operator's name
    if (require_exchange_api(source).current_stream(device.type, device.index, &value.stream) != 0)
      throw error_already_set();
    return true;
  }
};

}  // namespace pybind11::detail
