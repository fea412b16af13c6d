// The dictionary's moving averages on the CPU.
#include "cpu/float_rows.h"
#include "cpu/threads.h"
#include "cpu/vector_clones.h"
#include "moving_average.h"
#include "ops.h"

namespace vlp {
namespace {

constexpr int64_t kCodesAtOnce = 16;

VLP_VECTOR_CLONES void move_code(const TowardsMean& rule, float* code, const float* sums, float count,
                                 int64_t width) {
  for (int64_t k = 0; k < width; ++k) code[k] = rule(code[k], sums[k], count);
}
VLP_VECTOR_CLONES void move_code(const Decay& decay, const Smoothing& rule, float smoothed_size, float* code,
                                 float* average, const float* sums, int64_t width) {
#pragma GCC ivdep
  for (int64_t k = 0; k < width; ++k) {
    average[k] = decay(average[k], sums[k]);
    code[k] = rule.code(code[k], average[k], smoothed_size);
  }
}

// Calls move(j) for every code.
template <typename Move>
void each_code(int64_t count, int64_t width, int64_t threads, Move&& move) {
  Shares shares(count, kCodesAtOnce);
  on_threads(worth_starting(threads, count * width), [&] { shares.each(move); });
}

}  // namespace

void ema_update(const TensorView& codes, const TensorView& sums, const TensorView& counts, double momentum,
                int64_t threads) {
  const char* function = "ema_update";
  check_ndim(function, "codes", codes, 2);
  const int64_t count = codes.size(0), width = codes.size(1);
  float* const code = whole_floats(function, "codes", codes, {count, width});
  const float* sum = whole_floats(function, "sums", sums, {count, width});
  const float* rows = whole_floats(function, "counts", counts, {count});
  const TowardsMean rule{static_cast<float>(momentum)};
  each_code(count, width, threads,
            [&](int64_t j) { move_code(rule, code + j * width, sum + j * width, rows[j], width); });
}

void laplace_ema_update(const TensorView& codes, const TensorView& embed_avg, const TensorView& cluster_size,
                        const TensorView& sums, const TensorView& counts, double momentum, double eps,
                        int64_t threads) {
  const char* function = "laplace_ema_update";
  check_ndim(function, "codes", codes, 2);
  const int64_t count = codes.size(0), width = codes.size(1);
  float* const code = whole_floats(function, "codes", codes, {count, width});
  float* const average = whole_floats(function, "embed_avg", embed_avg, {count, width});
  float* const size = whole_floats(function, "cluster_size", cluster_size, {count});
  const float* sum = whole_floats(function, "sums", sums, {count, width});
  const float* rows = whole_floats(function, "counts", counts, {count});
  const Decay decay{static_cast<float>(momentum), static_cast<float>(1 - momentum)};
  double total = 0;
  for (int64_t j = 0; j < count; ++j) total += size[j] = decay(size[j], rows[j]);
  const Smoothing rule{static_cast<float>(total),
                       static_cast<float>(total + static_cast<double>(count) * eps), static_cast<float>(eps)};
  each_code(count, width, threads, [&](int64_t j) {
    const int64_t first = j * width;
    move_code(decay, rule, rule.size(size[j]), code + first, average + first, sum + first, width);
  });
}

}  // namespace vlp
