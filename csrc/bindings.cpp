// The Python module vlp_fast._C. Signatures and documentation only; the work is in cpu/ and cuda/.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "build_config.h"
#include "ops.h"
#include "tensor_argument.h"

namespace py = pybind11;

namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "gcc " __VERSION__;
#else
constexpr const char* kCompiler = "unknown";
#endif

// "75-real 80-real 90" -> ["sm_75", "sm_80", "sm_90", "compute_90"]
[[maybe_unused]] py::list arch_names(const std::string& architectures) {
  py::list names;
  size_t start = 0;
  while (start < architectures.size()) {
    const size_t end = std::min(architectures.find(' ', start), architectures.size());
    const std::string entry = architectures.substr(start, end - start);
    const size_t dash = entry.find('-');
    const std::string kind = dash == std::string::npos ? "" : entry.substr(dash + 1);
    if (kind != "virtual") names.append("sm_" + entry.substr(0, dash));
    if (kind != "real") names.append("compute_" + entry.substr(0, dash));
    start = end + 1;
  }
  return names;
}

py::dict build_info() {
  py::dict info;
  info["compiler"] = kCompiler;
  info["pybind11"] = PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_MINOR);
  info["dlpack_exchange_api"] = "major version " + std::to_string(vlp::ExchangeAPI::kMajor);
#ifdef VLP_CUDA
  info["cuda"] = vlp::kCudaVersion;
  info["cuda_archs"] = arch_names(vlp::kCudaArchs);
  info["cuda_note"] = "";
#else
  info["cuda"] = py::none();
  info["cuda_archs"] = py::list();
  info["cuda_note"] = vlp::kCudaNote;
#endif
  return info;
}

vlp::MatchInput match_input(const py::dict& in) {
  const auto view = [&](const char* name) { return in[name].cast<vlp::TensorView>(); };
  const auto perhaps = [&](const char* name) {
    return in[name].is_none() ? std::nullopt : std::optional(view(name));
  };
  const int class_cost = in["class_cost"].cast<int>();
  if (class_cost < 0 || class_cost > static_cast<int>(vlp::ClassCost::kFocal))
    throw py::value_error("match: class_cost is " + std::to_string(class_cost) + ", expected 0, 1 or 2");
  return {view("logits"),
          view("boxes"),
          perhaps("attribute_logits"),
          view("target_boxes"),
          view("labels"),
          view("attributes"),
          in["are_probabilities"].cast<bool>(),
          perhaps("normaliser"),
          perhaps("attribute_normaliser"),
          static_cast<vlp::ClassCost>(class_cost),
          in["weights"].cast<std::vector<double>>()};
}

void assign(vlp::TensorView cost, const std::optional<vlp::TensorView>& num_rows,
            vlp::TensorView column_of_row, vlp::TensorView status, bool maximize, int64_t threads) {
  const py::gil_scoped_release without_gil;
  vlp::assign(cost, num_rows, {column_of_row, status}, maximize, threads);
}

// One matrix in an array: what crosses to PyTorch and back takes longer than a small problem.
py::tuple assign_array(const py::array_t<double>& cost, bool maximize) {
  if (cost.ndim() != 2)
    throw py::value_error("assign_array: cost has " + std::to_string(cost.ndim()) +
                          " dimensions, expected 2");
  constexpr auto kSize = static_cast<int64_t>(sizeof(double));
  if (cost.strides(0) % kSize != 0 || cost.strides(1) % kSize != 0)
    throw py::value_error("assign_array: cost is not aligned; use numpy.require(cost, requirements='A')");
  const vlp::Matrix<double> matrix{cost.data(), 0, cost.strides(0) / kSize, cost.strides(1) / kSize,
                                   maximize ? -1.0 : 1.0};
  std::vector<int64_t> column_of_row(cost.shape(0));
  vlp::Status status;
  {
    const py::gil_scoped_release without_gil;
    status = vlp::assign_one(matrix, cost.shape(0), cost.shape(1), column_of_row.data());
  }
  const int64_t pairs = status == vlp::kSolved ? std::min(cost.shape(0), cost.shape(1)) : 0;
  py::array_t<int64_t> rows(pairs), columns(pairs);
  int64_t next = 0;
  for (int64_t row = 0; next < pairs; ++row) {
    if (column_of_row[row] == vlp::kNobody) continue;
    rows.mutable_data()[next] = row;
    columns.mutable_data()[next++] = column_of_row[row];
  }
  return py::make_tuple(rows, columns, static_cast<int>(status));
}

void match(const py::dict& predictions, vlp::TensorView cu_targets, vlp::TensorView query_of_target,
           vlp::TensorView status, int64_t threads) {
  const vlp::MatchInput in = match_input(predictions);
  const py::gil_scoped_release without_gil;
  vlp::match(in, cu_targets, {query_of_target, status}, threads);
}

using OptionalView = std::optional<vlp::TensorView>;

#ifdef VLP_CUDA
void assign_cuda(vlp::StreamView cost, const std::optional<vlp::TensorView>& num_rows,
                 vlp::TensorView column_of_row, vlp::TensorView status, bool maximize) {
  const py::gil_scoped_release without_gil;
  vlp::assign_cuda(cost, num_rows, {column_of_row, status}, maximize);
}

void match_cuda(const py::dict& predictions, vlp::TensorView cu_targets, vlp::TensorView query_of_target,
                vlp::TensorView status, int64_t longest, const std::optional<vlp::TensorView>& scratch) {
  const vlp::MatchInput in = match_input(predictions);
  void* stream = predictions["logits"].cast<vlp::StreamView>().stream;
  const py::gil_scoped_release without_gil;
  vlp::match_cuda(in, cu_targets, {query_of_target, status}, longest, scratch, stream);
}

void attention_cuda(const vlp::StreamView& q, const vlp::TensorView& k, const vlp::TensorView& v,
                    const vlp::TensorView& cu_seqlens_q, const vlp::TensorView& cu_seqlens_k,
                    const OptionalView& order, int64_t max_seqlen_q, int64_t max_seqlen_k, bool causal,
                    double scale, double dropout_p, const OptionalView& seed, const vlp::TensorView& out,
                    const vlp::TensorView& lse) {
  const vlp::AttentionInput in{k,      v,     cu_seqlens_q, cu_seqlens_k, order, max_seqlen_q, max_seqlen_k,
                               causal, scale, dropout_p,    seed};
  vlp::attention_cuda(q, in, {out, lse});
}

void attention_backward_cuda(const vlp::StreamView& grad, const vlp::TensorView& q, const vlp::TensorView& k,
                             const vlp::TensorView& v, const vlp::TensorView& out, const vlp::TensorView& lse,
                             const vlp::TensorView& cu_seqlens_q, const vlp::TensorView& cu_seqlens_k,
                             const OptionalView& order, int64_t max_seqlen_q, int64_t max_seqlen_k,
                             bool causal, double scale, double dropout_p, const OptionalView& seed,
                             const vlp::TensorView& grad_q, const vlp::TensorView& grad_k,
                             const vlp::TensorView& grad_v, const vlp::TensorView& centres) {
  const vlp::AttentionInput in{k,      v,     cu_seqlens_q, cu_seqlens_k, order, max_seqlen_q, max_seqlen_k,
                               causal, scale, dropout_p,    seed};
  vlp::attention_backward_cuda(grad, q, in, {out, lse}, {grad_q, grad_k, grad_v, centres});
}

void count_rows_cuda(const vlp::StreamView& x, const vlp::TensorView& indices, const OptionalView& valid,
                     bool check_finite, int64_t num_codes, int64_t blocks, const vlp::TensorView& code_of,
                     const vlp::TensorView& histogram) {
  vlp::count_rows_cuda(x, valid, indices, {code_of, histogram, num_codes, blocks}, check_finite);
}

void sum_rows_cuda(const vlp::StreamView& x, int64_t num_codes, int64_t blocks,
                   const vlp::TensorView& code_of, const vlp::TensorView& histogram,
                   const vlp::TensorView& ends, const vlp::TensorView& order, const vlp::TensorView& partial,
                   const vlp::TensorView& buffer) {
  vlp::sum_rows_cuda(x, {code_of, histogram, num_codes, blocks}, ends, order, partial, buffer);
}
#endif

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Native kernels of vlp_fast; import it through vlp_fast.native.";
  module.def("build_info", &build_info, "Compiler, CUDA toolkit and architectures of this binary.");

  module.def("assign", &assign, py::arg("cost"), py::arg("num_rows"), py::arg("column_of_row"),
             py::arg("status"), py::arg("maximize"), py::arg("threads"),
             "Assign the rows of many matrices to their columns, on the CPU.\n\n"
             "cost (A, T, Q) float32 or float64, any strides; num_rows (A,) int32, how many rows of each "
             "matrix are\n"
             "its problem, or None for all. Writes column_of_row (A, T) int64 where a problem has the row, "
             "-1 if it\n"
             "is left over, and status (A, 1) int8: 0 solved, 2 infeasible, 3 holds NaN or -inf (+inf if "
             "maximize).");
  module.def("assign_array", &assign_array, py::arg("cost").noconvert(), py::arg("maximize"),
             "Rows and columns of a float64 array's assignment, as SciPy's, and its status as of assign.");
  module.def(
      "match", &match, py::arg("predictions"), py::arg("cu_targets"), py::arg("query_of_target"),
      py::arg("status"), py::arg("threads"),
      "Match targets to queries at the lowest cost, on the CPU.\n\n"
      "predictions: logits (A, B, Q, N), boxes (A, B, Q, 4), attribute_logits (A, B, Q, R) or None, "
      "floating\n"
      "point, any strides; target_boxes (T, 4) float32, labels (T,), attributes (T,) int64;\n"
      "are_probabilities, in place of logits, or normaliser and attribute_normaliser (A, B, Q), log of the\n"
      "sum of exponentials, None where there is no softmax; class_cost 0 softmax, 1 sigmoid, 2 focal; "
      "weights\n"
      "of class, L1, GIoU, attribute, and alpha and gamma of the focal cost. cu_targets (B + 1,) int32.\n"
      "Writes query_of_target (A, T) int64, -1 if left over, and status (A, B) int8 or bool: 1 where\n"
      "something was not finite, and cost as much as possible.");
  const auto without_gil = py::call_guard<py::gil_scoped_release>();
  module.def("multiplies_brain", &vlp::multiplies_brain, "Whether this CPU has instructions for bfloat16.");
  module.def("centre_rows", &vlp::centre_rows, py::arg("x"), py::arg("centre"), py::arg("operand"),
             py::arg("bounds"), py::arg("threads"), without_gil,
             "Write rows x (R, D) floating point, any strides, minus centre (D,) float32 to operand (R, D) "
             "bfloat16\n"
             "or float32; and bounds (R, 2) float32, of the operand's norm and of its distance from the row, "
             "NaN for\n"
             "a row that is not finite.");
  module.def("multiplies_single", &vlp::multiplies_single,
             "Whether multiply_rows is likely faster on this CPU than PyTorch's product.");
  module.def("multiply_rows", &vlp::multiply_rows, py::arg("rows"), py::arg("codes"), py::arg("products"),
             py::arg("threads"), without_gil,
             "Write products (R, K) of rows (R, D) and codes (K, D), all float32 and contiguous.");
  module.def("decide_rows", &vlp::decide_rows, py::arg("products"), py::arg("bounds"), py::arg("x"),
             py::arg("codes"), py::arg("terms"), py::arg("valid"), py::arg("excluded"), py::arg("rounding"),
             py::arg("indices"), py::arg("threads"), without_gil,
             "Write indices (R,) int64 of the codes (K, D) float32 nearest to rows x, or excluded.\n\n"
             "products (R, K) of the rows' operand, as of centre_rows with bounds, and of the codes', of its "
             "dtype;\n"
             "terms (4, K) of prepare_codes; valid (R,) bool or None; rounding of the factors beyond the\n"
             "operands', in parts of the product of their norms.");
  module.def("code_statistics", &vlp::code_statistics, py::arg("x"), py::arg("indices"), py::arg("num_codes"),
             py::arg("valid"), py::arg("check_finite"), py::arg("buffer"), py::arg("threads"), without_gil,
             "Write sums, counts and the number of rows that are not finite to buffer (K * D + K + 1,) "
             "float32.");
  module.def(
      "prepare_codes", &vlp::prepare_codes, py::arg("codes"), py::arg("operand"), py::arg("terms"),
      py::arg("centre"), py::arg("threads"), without_gil,
      "Write codes (K, D) minus centre (D,), float32, to operand (K, D) bfloat16 or float32; and terms\n"
      "(4, K) float32: |d - c|^2 / 2, (|d|^2 - |c|^2) / 2, bounds of |d - c - operand| and |d - c|.");
  module.def("ema_update", &vlp::ema_update, py::arg("codes"), py::arg("sums"), py::arg("counts"),
             py::arg("momentum"), py::arg("threads"), without_gil,
             "Move codes towards the means of their rows.");
  module.def("laplace_ema_update", &vlp::laplace_ema_update, py::arg("codes"), py::arg("embed_avg"),
             py::arg("cluster_size"), py::arg("sums"), py::arg("counts"), py::arg("momentum"), py::arg("eps"),
             py::arg("threads"), without_gil, "Move averages of sums and counts, and divide them.");
#ifdef VLP_CUDA
  module.def("device_probe", &vlp::device_probe, py::arg("tensor"), py::call_guard<py::gil_scoped_release>(),
             "Launch an empty kernel on the tensor's device and current stream, or raise RuntimeError.");
  module.def("assign_cuda", &assign_cuda, py::arg("cost"), py::arg("num_rows"), py::arg("column_of_row"),
             py::arg("status"), py::arg("maximize"), "The same as assign, on the current stream of a GPU.");
  module.def(
      "fits_in_shared", &vlp::fits_in_shared, py::arg("rows"), py::arg("columns"), py::arg("device"),
      "Whether match_cuda finds room for a matrix in the shared memory of a GPU, and needs no scratch.");
  module.def("match_cuda", &match_cuda, py::arg("predictions"), py::arg("cu_targets"),
             py::arg("query_of_target"), py::arg("status"), py::arg("longest"), py::arg("scratch"),
             "The same as match, on the current stream of a GPU. Writes both normalisers. longest bounds the "
             "targets\n"
             "of an image; scratch (A, T, Q) float32 or None, for costs that do not fit in shared memory.");
  module.def(
      "nearest_code_cuda", &vlp::nearest_code_cuda, py::arg("x"), py::arg("codes"), py::arg("operand"),
      py::arg("terms"), py::arg("centre"), py::arg("valid"), py::arg("excluded"), py::arg("indices"),
      py::arg("doubtful"), without_gil,
      "Write indices (N,) int64 of the codes (K, D) float32 nearest to rows x (N, D), of 32 bits or less, "
      "any\n"
      "strides, or excluded. operand (K, D) float16, terms and centre of prepare_codes_cuda; doubtful\n"
      "(N + 1,) int64, the first of which is 0: its scratch.");
  module.def(
      "attention_cuda", &attention_cuda, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("cu_seqlens_q"),
      py::arg("cu_seqlens_k"), py::arg("order"), py::arg("max_seqlen_q"), py::arg("max_seqlen_k"),
      py::arg("causal"), py::arg("scale"), py::arg("dropout_p"), py::arg("seed"), py::arg("out"),
      py::arg("lse"), without_gil,
      "Write out (Tq, N, E) float16 and lse (N, Tq) float32 of attention of q (Tq, N, E), k and v (Tk, N, E) "
      "float16,\n"
      "all of any strides but within a head of at most 128, within each of S sequences: cu_seqlens (S + 1,) "
      "int32, order\n"
      "(S,) int32 or None, seed () int64 or None.");
  module.def("attention_backward_cuda", &attention_backward_cuda, py::arg("grad"), py::arg("q"), py::arg("k"),
             py::arg("v"), py::arg("out"), py::arg("lse"), py::arg("cu_seqlens_q"), py::arg("cu_seqlens_k"),
             py::arg("order"), py::arg("max_seqlen_q"), py::arg("max_seqlen_k"), py::arg("causal"),
             py::arg("scale"), py::arg("dropout_p"), py::arg("seed"), py::arg("grad_q"), py::arg("grad_k"),
             py::arg("grad_v"), py::arg("centres"), without_gil,
             "Write the gradients of q, k and v, laid out as attention_cuda reads them; centres (N, Tq) "
             "float32 is\n"
             "scratch.");
  module.def("count_rows_cuda", &count_rows_cuda, py::arg("x"), py::arg("indices"), py::arg("valid"),
             py::arg("check_finite"), py::arg("num_codes"), py::arg("blocks"), py::arg("code_of"),
             py::arg("histogram"), without_gil,
             "Write code_of (N,) int32, the code that a row counts for or -1, and add to histogram (K * "
             "blocks + 1,) "
             "int32\n"
             "how many rows each block of rows has of each code; its last is the number that is not finite.");
  module.def(
      "sum_rows_cuda", &sum_rows_cuda, py::arg("x"), py::arg("num_codes"), py::arg("blocks"),
      py::arg("code_of"), py::arg("histogram"), py::arg("ends"), py::arg("order"), py::arg("partial"),
      py::arg("buffer"), without_gil,
      "Write the statistics of what count_rows_cuda counted to buffer (K * D + K + 1,) float32. ends (K * "
      "blocks,)\n"
      "int64 is the histogram added up; the histogram, order (N,) int64 and partial (2 ceil(N / 128), D) "
      "float32\n"
      "are scratch.");
  module.def("add_rows_cuda", &vlp::add_rows_cuda, py::arg("x"), py::arg("valid"), py::arg("indices"),
             py::arg("num_codes"), py::arg("check_finite"), py::arg("buffer"), without_gil,
             "Add the statistics of rows to buffer (K * D + K + 1,) float32, in any order.");
  module.def("prepare_codes_cuda", &vlp::prepare_codes_cuda, py::arg("codes"), py::arg("operand"),
             py::arg("terms"), py::arg("centre"), without_gil,
             "The same as prepare_codes, on the current stream of a GPU; operand (K, D) float16.");
  module.def("ema_update_cuda", &vlp::ema_update_cuda, py::arg("codes"), py::arg("sums"), py::arg("counts"),
             py::arg("momentum"), without_gil, "The same as ema_update, on the current stream of a GPU.");
  module.def(
      "laplace_ema_update_cuda", &vlp::laplace_ema_update_cuda, py::arg("codes"), py::arg("embed_avg"),
      py::arg("cluster_size"), py::arg("sums"), py::arg("counts"), py::arg("momentum"), py::arg("eps"),
      py::arg("total"), without_gil,
      "The same as laplace_ema_update, on the current stream of a GPU; total (1,) float32 is its scratch.");
#endif
}
