// Table of contents: everything that bindings.cpp offers to Python.
#pragma once

#include "assignment.h"

namespace vlp {

// cpu/matching.cpp
void assign(const TensorView& cost, const std::optional<TensorView>& num_rows, const Answers& answers,
            bool maximize, int64_t threads);
Status assign_one(const Matrix<double>& cost, int64_t rows, int64_t columns, int64_t* column_of_row);
void match(const MatchInput& in, const TensorView& cu_targets, const Answers& answers, int64_t threads);

#ifdef VLP_CUDA
// cuda/device.cu
void device_probe(StreamView tensor);

// cuda/matching.cu
void assign_cuda(const StreamView& cost, const std::optional<TensorView>& num_rows, const Answers& answers,
                 bool maximize);
bool fits_in_shared(int64_t rows, int64_t columns, int device);
void match_cuda(const MatchInput& in, const TensorView& cu_targets, const Answers& answers, int64_t longest,
                const std::optional<TensorView>& scratch, void* stream);
#endif

}  // namespace vlp
