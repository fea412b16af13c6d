// Attention on the GPU: one launch forward, two backward, and nothing waits for a length.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "cuda/attention_backward.cuh"
#include "cuda/attention_forward.cuh"
#include "cuda/stream.h"
#include "ops.h"

namespace vlp {
namespace {

constexpr const char* kForward = "attention_cuda";
constexpr const char* kBackward = "attention_backward_cuda";
constexpr int64_t kWidest = 128, kMostBlocks = INT32_MAX;

struct Shape {
  int64_t rows, heads, width;
};

Shape shape_of(const char* function, const char* name, const TensorView& view) {
  check_ndim(function, name, view, 3);
  if (view.size(2) < 1 || view.size(2) > kWidest)
    fail(function, name + (" has head width " + std::to_string(view.size(2))) + ", expected 1 to " +
                       std::to_string(kWidest));
  return {view.size(0), view.size(1), view.size(2)};
}

HeadRows head_rows(const char* function, const char* name, const TensorView& view, const Shape& shape,
                   Device device) {
  check_device(function, name, view, device);
  check_dtype(function, name, view, kFloat16);
  check_shape(function, name, view, {shape.rows, shape.heads, shape.width});
  const bool is_empty = shape.rows == 0 || shape.heads == 0;  // of any strides, .contiguous() or not
  if (!is_empty && shape.width > 1 && view.stride(2) != 1)
    fail(function, std::string(name) + " has gaps within a head; call .contiguous()");
  const bool are_lines_aligned = view.stride(0) % kSegment == 0 && view.stride(1) % kSegment == 0;
  return {view.ptr<uint16_t>(), view.stride(0), view.stride(1), are_lines_aligned && is_aligned(view)};
}

// As Python rounds: halves to even.
int32_t threshold(double dropout_p) {
  return static_cast<int32_t>(std::nearbyint(65536 * dropout_p)) - 32768;
}

Attention attention_of(const char* function, const AttentionInput& in, const Shape& shape, Device device) {
  check_ndim(function, "cu_seqlens_q", in.cu_seqlens_q, 1);
  const int64_t bounds = in.cu_seqlens_q.size(0);
  check_matrix(function, "cu_seqlens_q", in.cu_seqlens_q, kInt32, {bounds}, device);
  check_matrix(function, "cu_seqlens_k", in.cu_seqlens_k, kInt32, {bounds}, device);
  if (in.order) check_matrix(function, "order", *in.order, kInt32, {bounds - 1}, device);
  if (in.seed) check_matrix(function, "seed", *in.seed, kInt64, {}, device);
  const Dropout dropout{in.seed ? in.seed->ptr<int64_t>() : nullptr, threshold(in.dropout_p),
                        in.seed ? static_cast<float>(1 / (1 - in.dropout_p)) : 1};
  return {in.cu_seqlens_q.ptr<int32_t>(),
          in.cu_seqlens_k.ptr<int32_t>(),
          in.order ? in.order->ptr<int32_t>() : nullptr,
          0,
          static_cast<int32_t>(shape.heads),
          static_cast<int32_t>(shape.width),
          in.is_causal,
          static_cast<float>(in.scale),
          dropout};
}

// One block for each tile of own rows: as many tiles for every sequence as the longest has.
template <typename Tile, typename Input>
void launch(const char* function, void (*kernel)(Input), Input arguments, const AttentionInput& in,
            int64_t longest, void* stream) {
  Attention& attention = arguments.attention;
  attention.tiles = static_cast<int32_t>((longest + kOwnRows - 1) / kOwnRows);
  const int64_t sequences = in.cu_seqlens_q.size(0) - 1;
  const int64_t blocks = sequences * attention.heads * attention.tiles;
  if (blocks > kMostBlocks)
    fail(function, "there are " + std::to_string(blocks) + " tiles, expected less than 2^31");
  Launch{function, blocks, kAttentionThreads, sizeof(Tile), stream}(kernel, arguments);
}

template <int kWidth>
struct Width {
  static constexpr int value = kWidth;
};

// Calls body(Width<W>{}) with the narrowest lines that hold a head.
template <typename Body>
void dispatch_width(int64_t width, Body&& body) {
  if (width <= 32) return body(Width<32>{});
  if (width <= 64) return body(Width<64>{});
  body(Width<kWidest>{});
}

}  // namespace

void attention_cuda(const StreamView& q, const AttentionInput& in, const AttentionResult& result) {
  const Device device{kDevice, q.view.device.index};
  const Shape shape = shape_of(kForward, "q", q.view);
  const Shape others{in.k.size(0), shape.heads, shape.width};
  check_matrix(kForward, "lse", result.lse, kFloat32, {shape.heads, shape.rows}, device);
  const ForwardInput arguments{attention_of(kForward, in, shape, device),
                               head_rows(kForward, "q", q.view, shape, device),
                               head_rows(kForward, "k", in.k, others, device),
                               head_rows(kForward, "v", in.v, others, device),
                               head_rows(kForward, "out", result.out, shape, device),
                               result.lse.ptr<float>(),
                               shape.rows};
  const DeviceGuard guard(kForward, device.index);
  dispatch_width(shape.width, [&](auto width) {
    launch<ForwardTile<width.value>>(kForward, attention_forward_kernel<width.value>, arguments, in,
                                     std::min(in.max_seqlen_q, shape.rows), q.stream);
  });
}

void attention_backward_cuda(const StreamView& grad, const TensorView& q, const AttentionInput& in,
                             const AttentionResult& result, const AttentionGradients& gradients) {
  const Device device{kDevice, grad.view.device.index};
  const Shape shape = shape_of(kBackward, "q", q), others{in.k.size(0), shape.heads, shape.width};
  check_matrix(kBackward, "lse", result.lse, kFloat32, {shape.heads, shape.rows}, device);
  check_matrix(kBackward, "centres", gradients.centres, kFloat32, {shape.heads, shape.rows}, device);
  const BackwardInput arguments{attention_of(kBackward, in, shape, device),
                                head_rows(kBackward, "q", q, shape, device),
                                head_rows(kBackward, "k", in.k, others, device),
                                head_rows(kBackward, "v", in.v, others, device),
                                head_rows(kBackward, "grad", grad.view, shape, device),
                                head_rows(kBackward, "out", result.out, shape, device),
                                result.lse.ptr<float>(),
                                gradients.centres.ptr<float>(),
                                shape.rows,
                                head_rows(kBackward, "grad_q", gradients.q, shape, device),
                                head_rows(kBackward, "grad_k", gradients.k, others, device),
                                head_rows(kBackward, "grad_v", gradients.v, others, device)};
  const DeviceGuard guard(kBackward, device.index);
  dispatch_width(shape.width, [&](auto width) {
    using Tile = BackwardTile<width.value>;
    const auto by_queries = attention_backward_kernel<ByQueries, width.value>;
    const auto by_keys = attention_backward_kernel<ByKeys, width.value>;
    const int64_t longest_q = std::min(in.max_seqlen_q, shape.rows);
    const int64_t longest_k = std::min(in.max_seqlen_k, others.rows);
    launch<Tile>(kBackward, by_queries, arguments, in, longest_q, grad.stream);
    launch<Tile>(kBackward, by_keys, arguments, in, longest_k, grad.stream);
  });
}

}  // namespace vlp
