// The dictionary's search on the GPU: one launch for the codes, two for the rows, and nothing waits for what
// the first of these found.
#include "cuda/assign_codes.cuh"
#include "cuda/codes_and_rows.h"
#include "cuda/prepare_codes.cuh"
#include "cuda/resolve_rows.cuh"
#include "cuda/stream.h"
#include "ops.h"

namespace vlp {
namespace {

constexpr const char* kSearch = "nearest_code_cuda";
constexpr int kResolveBlocksPerProcessor = 2;

Codes codes_of(const char* name, const TensorView& codes, const TensorView& operand, const TensorView& terms,
               const TensorView& centre, Device device) {
  check_ndim(name, "codes", codes, 2);
  const int64_t count = codes.size(0), width = codes.size(1);
  check_matrix(name, "codes", codes, kFloat32, {count, width}, device);
  check_matrix(name, "operand", operand, kFloat16, {count, width}, device);
  check_matrix(name, "terms", terms, kFloat32, {4, count}, device);
  check_matrix(name, "centre", centre, kFloat32, {width}, device);
  return {codes.ptr<float>(),
          operand.ptr<uint16_t>(),
          terms.ptr<float>(),
          centre.ptr<float>(),
          static_cast<int32_t>(count),
          static_cast<int32_t>(width),
          width % kSegment == 0 && is_aligned(operand) && is_aligned(centre)};
}

template <FloatKind kKind>
void launch(const Rows& rows, const Codes& codes, const Found& found, int device, void* stream) {
  const int64_t blocks = (rows.count + AssignTile::kRows - 1) / AssignTile::kRows;
  Launch{kSearch, blocks, AssignTile::kThreads, sizeof(AssignTile), stream}(assign_codes_kernel<kKind>, rows,
                                                                            codes, found);
  const int64_t groups =
      std::min<int64_t>(kResolveBlocksPerProcessor * num_processors(kSearch, device), rows.count);
  constexpr int64_t kShared = kResolveRows * kResolveWarps * sizeof(Nearest);
  Launch{kSearch, groups, kResolveThreads, kShared, stream}(resolve_rows_kernel<kKind>, rows, codes, found);
}

}  // namespace

void prepare_codes_cuda(const StreamView& codes, const TensorView& operand, const TensorView& terms,
                        const TensorView& centre) {
  constexpr const char* kName = "prepare_codes_cuda";
  const Device device{kDevice, codes.view.device.index};
  const Codes in = codes_of(kName, codes.view, operand, terms, centre, device);
  const DeviceGuard guard(kName, device.index);
  const int64_t blocks = (in.count + int64_t{kPrepareWarps} - 1) / kPrepareWarps;
  Launch{kName, blocks, kPrepareThreads, 0, codes.stream}(prepare_codes_kernel, in.exact, in.centre, in.count,
                                                          in.width, operand.ptr<uint16_t>(),
                                                          terms.ptr<float>());
}

void nearest_code_cuda(const StreamView& x, const TensorView& vectors, const TensorView& operand,
                       const TensorView& terms, const TensorView& centre,
                       const std::optional<TensorView>& valid, int64_t excluded, const TensorView& indices,
                       const TensorView& doubtful) {
  const Device device{kDevice, x.view.device.index};
  const Rows rows = rows_of(kSearch, x.view, valid, device);
  const Codes codes = codes_of(kSearch, vectors, operand, terms, centre, device);
  check_shape(kSearch, "codes", vectors, {codes.count, rows.width});
  check_matrix(kSearch, "indices", indices, kInt64, {rows.count}, device);
  check_matrix(kSearch, "doubtful", doubtful, kInt64, {rows.count + 1}, device);
  auto* list = doubtful.ptr<int64_t>();
  const Found found{indices.ptr<int64_t>(), excluded, reinterpret_cast<unsigned long long*>(list), list + 1};
  const DeviceGuard guard(kSearch, device.index);
  switch (rows.kind) {
    case FloatKind::kHalf:
      return launch<FloatKind::kHalf>(rows, codes, found, device.index, x.stream);
    case FloatKind::kBrain:
      return launch<FloatKind::kBrain>(rows, codes, found, device.index, x.stream);
    default:
      return launch<FloatKind::kSingle>(rows, codes, found, device.index, x.stream);
  }
}

}  // namespace vlp
