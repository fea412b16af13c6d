// Matching and assignment of many small problems on the GPU: no host in between, nothing waits, nothing
// depends on the number of targets but the launch's shared memory.
#include <algorithm>

#include "cuda/assign.cuh"
#include "cuda/stream.h"
#include "ops.h"

namespace vlp {
namespace {

constexpr int32_t kWarpColumns = 1024;  // beyond, a block for each problem

// For `rows` x `columns` or fewer costs; with the tile if `limit` has room for it.
int64_t shared_bytes(int64_t rows, int64_t columns, int64_t bytes_per_cost, int64_t limit) {
  const int64_t team = std::max(WarpTeam::kSharedBytes, BlockTeam::kSharedBytes);
  const auto shorter = static_cast<int32_t>(std::min(rows, columns));
  const auto longer = static_cast<int32_t>(std::max(rows, columns));
  const int64_t whole = team + Workspace::bytes(shorter, longer) + rows * columns * bytes_per_cost;
  return std::min(whole, limit);
}

// `longest` bounds the rows of a problem.
template <typename Source>
void launch(const char* name, const Source& source, const Problems& problems, int64_t longest, float* scratch,
            int device, void* stream) {
  const int64_t limit = shared_limit(name, device);
  const int64_t columns = problems.columns, longer = std::max(longest, columns);
  const int64_t least = BlockTeam::kSharedBytes + Workspace::bytes(std::min(longest, columns), longer);
  if (least > limit)
    fail(name, std::to_string(longer) + " columns need " + std::to_string(least) +
                   " bytes of shared memory, expected at most " + std::to_string(limit));
  const int64_t shared = shared_bytes(longest, columns, sizeof(typename Source::Value), limit);
  const auto run = [&](auto kernel, int threads) {
    Launch{name, problems.count(), threads, shared, stream}(kernel, source, problems, shared, scratch);
  };
  if (longer <= kWarpColumns) return run(assign_kernel<WarpTeam, Source>, WarpTeam::kBlock);
  run(assign_kernel<BlockTeam, Source>, BlockTeam::kBlock);
}

// Both softmaxes in one launch, if there are any.
template <typename Real>
void normalise(const char* name, const Predictions<Real>& source, const MatchInput& in,
               const Problems& problems, void* stream) {
  Softmax<Real> softmaxes[2] = {};
  int count = 0;
  if (in.normaliser) softmaxes[count++] = {source.logits, in.normaliser->ptr<Real>()};
  if (in.attribute_normaliser)
    softmaxes[count++] = {source.attribute_logits, in.attribute_normaliser->ptr<Real>()};
  const int64_t queries = count * static_cast<int64_t>(problems.count()) * problems.columns;
  const Launch launch{name, (queries + kNormalisers - 1) / kNormalisers, 32 * kNormalisers, 0, stream};
  launch(normalise_kernel<Real>, softmaxes[0], softmaxes[1], problems, queries);
}

}  // namespace

void assign_cuda(const StreamView& cost, const std::optional<TensorView>& num_rows, const Answers& answers,
                 bool maximize) {
  constexpr const char* kName = "assign_cuda";
  const TensorView& view = cost.view;
  const Device device{kDevice, view.device.index};
  const Problems problems = problems_of(kName, view, num_rows, answers, device);
  const DeviceGuard guard(kName, device.index);
  dispatch_real(kName, "cost", view, [&](auto type) {
    launch(kName, matrix_of(type, view, maximize), problems, problems.rows, nullptr, device.index,
           cost.stream);
  });
}

bool fits_in_shared(int64_t rows, int64_t columns, int device) {
  const int64_t limit = shared_limit("fits_in_shared", device);
  return shared_bytes(rows, columns, sizeof(float), limit + 1) <= limit;
}

void match_cuda(const MatchInput& in, const TensorView& cu_targets, const Answers& answers, int64_t longest,
                const std::optional<TensorView>& scratch, void* stream) {
  constexpr const char* kName = "match_cuda";
  const Device device{kDevice, in.logits.device.index};
  const Problems problems = problems_of(kName, in, cu_targets, answers, device);
  const DeviceGuard guard(kName, device.index);
  if (scratch) {
    check_vectors(kName, {{"scratch", &*scratch}}, kFloat32, device);
    check_shape(kName, "scratch", *scratch, {problems.layers, problems.rows, problems.columns});
  } else if (!fits_in_shared(longest, problems.columns, device.index)) {
    fail(kName, "scratch is None, expected (A, T, Q) float32: the costs do not fit in shared memory");
  }
  dispatch_precision(in, [&](auto type) {
    const auto source = predictions_of(type, kName, in, device);
    normalise(kName, source, in, problems, stream);
    launch(kName, source, problems, longest, scratch ? scratch->ptr<float>() : nullptr, device.index, stream);
  });
}

}  // namespace vlp
