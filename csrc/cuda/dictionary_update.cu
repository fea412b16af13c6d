// The dictionary's statistics and moving averages on the GPU.
#include "cuda/codes_and_rows.h"
#include "cuda/sum_rows.cuh"
#include "cuda/update_codes.cuh"
#include "ops.h"

namespace vlp {
namespace {

int64_t ceil_div(int64_t count, int64_t size) { return (count + size - 1) / size; }

int32_t slices_of(const Rows& rows) {
  return static_cast<int32_t>(std::max<int64_t>(ceil_div(rows.width, kSumThreads), 1));
}

Sorting sorting_of(const char* name, const SortInput& in, int64_t count, Device device) {
  const int64_t blocks = in.blocks, codes = in.num_codes;
  check_matrix(name, "code_of", in.code_of, kInt32, {count}, device);
  check_matrix(name, "histogram", in.histogram, kInt32, {codes * blocks + 1}, device);
  return {nullptr,
          in.code_of.ptr<int32_t>(),
          in.histogram.ptr<int32_t>(),
          nullptr,
          nullptr,
          static_cast<int32_t>(codes),
          static_cast<int32_t>(blocks),
          ceil_div(count, std::max<int64_t>(blocks, 1))};
}

float* statistics_of(const char* name, const TensorView& out, const Rows& rows, int64_t codes,
                     Device device) {
  check_matrix(name, "out", out, kFloat32, {codes * (rows.width + int64_t{1}) + 1}, device);
  return out.ptr<float>();
}

template <typename Rule>
void update(const char* name, const Rule& rule, const TensorView& codes, Device device, void* stream) {
  const int64_t count = codes.size(0), width = codes.size(1);
  const DeviceGuard guard(name, device.index);
  Launch{name, ceil_div(count, kUpdateWarps), kUpdateThreads, 0, stream}(
      update_codes_kernel<Rule>, rule, static_cast<int32_t>(count), static_cast<int32_t>(width));
}

void check_codes(const char* name, const TensorView& codes, Device device) {
  check_ndim(name, "codes", codes, 2);
  check_matrix(name, "codes", codes, kFloat32, {codes.size(0), codes.size(1)}, device);
}

}  // namespace

void count_rows_cuda(const StreamView& x, const std::optional<TensorView>& valid, const TensorView& indices,
                     const SortInput& in, bool check_finite) {
  constexpr const char* kName = "count_rows_cuda";
  const Device device{kDevice, x.view.device.index};
  const Rows rows = rows_of(kName, x.view, valid, device);
  check_matrix(kName, "indices", indices, kInt64, {rows.count}, device);
  Sorting sorting = sorting_of(kName, in, rows.count, device);
  sorting.indices = indices.ptr<int64_t>();
  const DeviceGuard guard(kName, device.index);
  Launch{kName, sorting.blocks, kCountThreads, 0, x.stream}(
      check_finite ? count_rows_kernel<true> : count_rows_kernel<false>, rows, sorting);
}

void sum_rows_cuda(const StreamView& x, const SortInput& in, const TensorView& ends, const TensorView& order,
                   const TensorView& partial, const TensorView& out) {
  constexpr const char* kName = "sum_rows_cuda";
  const Device device{kDevice, x.view.device.index};
  const Rows rows = rows_of(kName, x.view, std::nullopt, device);
  Sorting sorting = sorting_of(kName, in, rows.count, device);
  check_matrix(kName, "ends", ends, kInt64, {in.num_codes * in.blocks}, device);
  check_matrix(kName, "order", order, kInt64, {rows.count}, device);
  const int64_t slots = 2 * ceil_div(rows.count, kPiece);
  check_matrix(kName, "partial", partial, kFloat32, {slots, rows.width}, device);
  sorting.ends = ends.ptr<int64_t>();
  sorting.order = order.ptr<int64_t>();
  const Sums sums{partial.ptr<float>(), statistics_of(kName, out, rows, in.num_codes, device), rows.width,
                  slices_of(rows)};
  const DeviceGuard guard(kName, device.index);
  Launch{kName, sorting.blocks, kWarp, 0, x.stream}(scatter_rows_kernel, rows.count, sorting);
  Launch{kName, slots * sums.slices, kSumThreads, 0, x.stream}(sum_pieces_kernel, rows, sorting, sums);
  Launch{kName, in.num_codes * sums.slices, kSumThreads, 0, x.stream}(sum_rows_kernel, rows, sorting, sums);
}

void add_rows_cuda(const StreamView& x, const std::optional<TensorView>& valid, const TensorView& indices,
                   int64_t num_codes, bool check_finite, const TensorView& out) {
  constexpr const char* kName = "add_rows_cuda";
  const Device device{kDevice, x.view.device.index};
  const Rows rows = rows_of(kName, x.view, valid, device);
  check_matrix(kName, "indices", indices, kInt64, {rows.count}, device);
  float* statistics = statistics_of(kName, out, rows, num_codes, device);
  const DeviceGuard guard(kName, device.index);
  Launch{kName, ceil_div(rows.count, kCountThreads / kWarp), kCountThreads, 0, x.stream}(
      check_finite ? add_rows_kernel<true> : add_rows_kernel<false>, rows, indices.ptr<int64_t>(),
      static_cast<int32_t>(num_codes), statistics);
}

void ema_update_cuda(const StreamView& codes, const TensorView& sums, const TensorView& counts,
                     double momentum) {
  constexpr const char* kName = "ema_update_cuda";
  const Device device{kDevice, codes.view.device.index};
  check_codes(kName, codes.view, device);
  const int64_t count = codes.view.size(0), width = codes.view.size(1);
  check_matrix(kName, "sums", sums, kFloat32, {count, width}, device);
  check_matrix(kName, "counts", counts, kFloat32, {count}, device);
  const Paper rule{codes.view.ptr<float>(), sums.ptr<float>(), counts.ptr<float>(),
                   TowardsMean{static_cast<float>(momentum)}};
  update(kName, rule, codes.view, device, codes.stream);
}

void laplace_ema_update_cuda(const StreamView& codes, const TensorView& averages,
                             const TensorView& cluster_sizes, const TensorView& sums,
                             const TensorView& counts, double momentum, double eps, const TensorView& total) {
  constexpr const char* kName = "laplace_ema_update_cuda";
  const Device device{kDevice, codes.view.device.index};
  check_codes(kName, codes.view, device);
  const int64_t count = codes.view.size(0), width = codes.view.size(1);
  check_matrix(kName, "embed_avg", averages, kFloat32, {count, width}, device);
  check_matrix(kName, "cluster_size", cluster_sizes, kFloat32, {count}, device);
  check_matrix(kName, "sums", sums, kFloat32, {count, width}, device);
  check_matrix(kName, "counts", counts, kFloat32, {count}, device);
  check_matrix(kName, "total", total, kFloat32, {1}, device);
  const Decay decay{static_cast<float>(momentum), static_cast<float>(1 - momentum)};
  const Official rule{codes.view.ptr<float>(),    averages.ptr<float>(),      sums.ptr<float>(),
                      cluster_sizes.ptr<float>(), total.ptr<float>(),         decay,
                      static_cast<float>(eps),    static_cast<int32_t>(count)};
  {
    const DeviceGuard guard(kName, device.index);
    Launch{kName, 1, kUpdateThreads, kUpdateWarps * sizeof(double), codes.stream}(
        decay_sizes_kernel, cluster_sizes.ptr<float>(), counts.ptr<float>(), decay,
        static_cast<int32_t>(count), total.ptr<float>());
  }
  update(kName, rule, codes.view, device, codes.stream);
}

}  // namespace vlp
