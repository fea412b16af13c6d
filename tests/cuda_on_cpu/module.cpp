// The extension with its CUDA functions on the CPU, and nothing else in it.
#define VLP_CUDA
#include "bindings.cpp"
#include "cuda/device.cu"
#include "cuda/dictionary.cu"
#include "cuda/dictionary_update.cu"
#include "cuda/matching.cu"

namespace vlp {

Status assign_one(const Matrix<double>&, int64_t, int64_t, int64_t*) {
  throw std::logic_error("not in this build");
}
void assign(const TensorView&, const std::optional<TensorView>&, const Answers&, bool, int64_t) {
  throw std::logic_error("not in this build");
}
void match(const MatchInput&, const TensorView&, const Answers&, int64_t) {
  throw std::logic_error("not in this build");
}

}  // namespace vlp
