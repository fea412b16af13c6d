// From a dtype known at run time to a type known at compile time.
#pragma once

#include "check.h"

namespace vlp {

template <typename T>
struct Type {
  using type = T;
};

// Calls body(Type<T>{}) with T float or double.
template <typename Body>
void dispatch_real(const char* function, const char* name, const TensorView& view, Body&& body) {
  if (view.dtype == kFloat32) return body(Type<float>{});
  if (view.dtype == kFloat64) return body(Type<double>{});
  fail(function, name + (" is " + to_string(view.dtype)) + ", expected float32 or float64");
}

}  // namespace vlp
