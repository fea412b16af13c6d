// The Python module vlp_fast._C. Signatures and documentation only; the work is in cpu/ and cuda/.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>

#include "build_config.h"
#include "ops.h"

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
  info["cuda"] = VLP_CUDA_VERSION;
  info["cuda_archs"] = arch_names(VLP_CUDA_ARCHS);
  info["cuda_note"] = "";
#else
  info["cuda"] = py::none();
  info["cuda_archs"] = py::list();
  info["cuda_note"] = VLP_CUDA_NOTE;
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Native kernels of vlp_fast; import it through vlp_fast.native.";
  module.def("build_info", &build_info, "Compiler, CUDA toolkit and architectures of this binary.");

  using WithoutGil = py::call_guard<py::gil_scoped_release>;
  module.def(
      "linear_sum_assignment", &vlp::linear_sum_assignment, py::arg("cost"), py::arg("row_to_col"),
      WithoutGil(),
      "Write the column of each row in a cheapest assignment, -1 for rows left over.\n\n"
      "cost (n, m) float32 or float64, any strides; row_to_col (n,) int64, contiguous; both on the CPU.");
#ifdef VLP_CUDA
  module.def("device_probe", &vlp::device_probe, py::arg("tensor"), WithoutGil(),
             "Launch an empty kernel on the tensor's device and current stream, or raise RuntimeError.");
#endif
}
