// The dictionary's search on the GPU: two launches, and nothing waits for what the first one found.
#include "cuda/assign_codes.cuh"
#include "cuda/codes_and_rows.h"
#include "cuda/resolve_rows.cuh"
#include "cuda/stream.h"
#include "ops.h"

namespace vlp {
namespace {

constexpr const char* kSearch = "nearest_code_cuda";
constexpr int kResolveBlocksPerProcessor = 2;

Codes codes_of(const TensorView& codes, const PreparedView& prepared, int64_t width, Device device) {
  check_ndim(kSearch, "codes", codes, 2);
  const int64_t count = codes.size(0);
  check_matrix(kSearch, "codes", codes, kFloat32, {count, width}, device);
  check_matrix(kSearch, "operand", prepared.operand, kFloat16, {count, width}, device);
  check_matrix(kSearch, "terms", prepared.terms, kFloat32, {4, count}, device);
  check_matrix(kSearch, "centre", prepared.centre, kFloat32, {width}, device);
  const bool are_aligned =
      width % kSegment == 0 && is_aligned(prepared.operand) && is_aligned(prepared.centre);
  return {codes.ptr<float>(),
          prepared.operand.ptr<uint16_t>(),
          prepared.terms.ptr<float>(),
          prepared.centre.ptr<float>(),
          static_cast<int32_t>(count),
          static_cast<int32_t>(width),
          are_aligned};
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

void nearest_code_cuda(const StreamView& x, const TensorView& codes_view, const PreparedView& prepared,
                       const std::optional<TensorView>& valid, int64_t excluded, const TensorView& indices,
                       const TensorView& doubtful) {
  const Device device{kDevice, x.view.device.index};
  const Rows rows = rows_of(kSearch, x.view, valid, device);
  const Codes codes = codes_of(codes_view, prepared, rows.width, device);
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
