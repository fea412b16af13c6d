// The extension with its CUDA functions on the CPU, and nothing else in it; with matching.cpp it is whole.
#define VLP_CUDA
#include "bindings.cpp"
#include "cuda/attention.cu"
#include "cuda/device.cu"
#include "cuda/dictionary.cu"
#include "cuda/dictionary_update.cu"

namespace vlp {

const char *const kCudaVersion = "none: on the CPU", *const kCudaArchs = "", *const kCudaNote = "";

namespace {

[[noreturn]] void absent() { throw std::logic_error("not in this build"); }

}  // namespace

using View = const TensorView&;
using OptionalView = const std::optional<TensorView>&;

Status assign_one(const Matrix<double>&, int64_t, int64_t, int64_t*) { absent(); }
void assign(View, OptionalView, const Answers&, bool, int64_t) { absent(); }
void match(const MatchInput&, View, const Answers&, int64_t) { absent(); }
bool multiplies_brain() { absent(); }
bool multiplies_single() { absent(); }
void multiply_rows(View, View, View, int64_t) { absent(); }
void centre_rows(View, View, View, View, int64_t) { absent(); }
void decide_rows(View, View, View, View, View, OptionalView, int64_t, double, View, int64_t) { absent(); }
void code_statistics(View, View, int64_t, OptionalView, bool, View, int64_t) { absent(); }
void prepare_codes(View, View, View, View, int64_t) { absent(); }
void ema_update(View, View, View, double, int64_t) { absent(); }
void laplace_ema_update(View, View, View, View, View, double, double, int64_t) { absent(); }

}  // namespace vlp
