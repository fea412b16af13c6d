// Arguments of Python as views, through the DLPack C exchange API that a tensor's class carries
// (`torch.Tensor.__dlpack_c_exchange_api__`, torch >= 2.11).
#pragma once

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "tensor_view.h"

namespace vlp {

struct ExchangeAPI {  // DLPackExchangeAPI
  static constexpr uint32_t kMajor = 1;
  uint32_t major, minor;
  const ExchangeAPI* previous;
  void* managed_tensor_functions[3];
  int (*view_of)(void* py_object, TensorView* out);  // may be null
  int (*current_stream)(int32_t device_type, int32_t device_index, void** out);
};

static_assert(sizeof(ExchangeAPI) == 56, "must match DLPack's layout");

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
