// Table of contents: everything that bindings.cpp offers to Python.
#pragma once

#include "tensor_view.h"

namespace vlp {

// cpu/assignment.cpp
void linear_sum_assignment(TensorView cost, TensorView row_to_col);

#ifdef VLP_CUDA
// cuda/device.cu
void device_probe(StreamView tensor);
#endif

}  // namespace vlp
