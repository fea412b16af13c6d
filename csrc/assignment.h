// The boundary that the CPU's and the GPU's assignment share: tensors in, checked, as what problems.h and
// matching_cost.h work on.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "check.h"
#include "dispatch.h"
#include "matching_cost.h"

namespace vlp {

inline void check_vectors(const char* function,
                          std::initializer_list<std::pair<const char*, const TensorView*>> vectors,
                          DType dtype, Device device) {
  for (const auto& [name, view] : vectors) {
    check_dtype(function, name, *view, dtype);
    check_device(function, name, *view, device);
    check_contiguous(function, name, *view);
  }
}

// Where the answers go: column_of_row (A, T) int64, status (A, B) int8 or bool.
struct Answers {
  TensorView column_of_row, status;
};

inline Problems problems_of(const char* function, RowBound first_row, RowBound last_row,
                            const Answers& answers, int64_t columns, Device device) {
  const auto& [column_of_row, status] = answers;
  check_vectors(function, {{"column_of_row", &column_of_row}}, kInt64, device);
  check_vectors(function, {{"status", &status}}, status.dtype == kBool ? kBool : kInt8, device);
  check_ndim(function, "column_of_row", column_of_row, 2);
  check_ndim(function, "status", status, 2);
  const int64_t layers = column_of_row.size(0), rows = column_of_row.size(1), images = status.size(1);
  check_shape(function, "status", status, {layers, images});
  constexpr int64_t kMost = Offer::kTaken;
  if (columns >= kMost || rows >= kMost || layers * images >= kMost)
    fail(function, std::to_string(layers) + " layers of " + std::to_string(images) + " images, " +
                       std::to_string(rows) + " rows and " + std::to_string(columns) +
                       " columns, expected fewer than 2^30 rows, columns and problems");
  return {first_row,
          last_row,
          static_cast<int32_t>(layers),
          static_cast<int32_t>(images),
          static_cast<int32_t>(rows),
          static_cast<int32_t>(columns),
          column_of_row.ptr<int64_t>(),
          status.ptr<int8_t>()};
}

// Each layer of cost (A, T, Q), in any layout, is a problem: all its rows, or the first num_rows[layer], (A,)
// int32.
inline Problems problems_of(const char* function, const TensorView& cost,
                            const std::optional<TensorView>& num_rows, const Answers& answers,
                            Device device) {
  check_ndim(function, "cost", cost, 3);
  check_device(function, "cost", cost, device);
  check_shape(function, "column_of_row", answers.column_of_row, {cost.size(0), cost.size(1)});
  check_shape(function, "status", answers.status, {cost.size(0), 1});
  if (num_rows) {
    check_vectors(function, {{"num_rows", &*num_rows}}, kInt32, device);
    check_shape(function, "num_rows", *num_rows, {cost.size(0)});
  }
  const RowBound last{num_rows ? num_rows->ptr<int32_t>() : nullptr, 1, 0,
                      static_cast<int32_t>(cost.size(1))};
  return problems_of(function, {nullptr, 0, 0, 0}, last, answers, cost.size(2), device);
}

template <typename T>
Matrix<T> matrix_of(Type<T>, const TensorView& cost, bool maximize) {
  return {cost.ptr<T>(), cost.stride(0), cost.stride(1), cost.stride(2), static_cast<T>(maximize ? -1 : 1)};
}

// What a decoder predicts and what is annotated, as Python hands it over.
struct MatchInput {
  TensorView logits, boxes;                     // (A, B, Q, N) and (A, B, Q, 4), floating point
  std::optional<TensorView> attribute_logits;   // (A, B, Q, R)
  TensorView target_boxes, labels, attributes;  // (T, 4) float32, (T,) int64, (T,) int64
  bool are_probabilities;                       // in place of logits
  std::optional<TensorView> normaliser, attribute_normaliser;  // of logits; (A, B, Q), contiguous
  ClassCost class_cost;
  std::vector<double> weights;  // of class, L1, GIoU and attribute; alpha and gamma of the focal cost
};

// cu_targets (B + 1,) int32: the targets of image b are cu_targets[b] to cu_targets[b + 1].
inline Problems problems_of(const char* function, const MatchInput& in, const TensorView& cu_targets,
                            const Answers& answers, Device device) {
  const TensorView& logits = in.logits;
  check_ndim(function, "logits", logits, 4);
  check_ndim(function, "labels", in.labels, 1);
  check_vectors(function, {{"cu_targets", &cu_targets}}, kInt32, device);
  check_shape(function, "cu_targets", cu_targets, {logits.size(1) + 1});
  check_shape(function, "status", answers.status, {logits.size(0), logits.size(1)});
  check_shape(function, "column_of_row", answers.column_of_row, {logits.size(0), in.labels.size(0)});
  const auto* starts = cu_targets.ptr<int32_t>();
  return problems_of(function, {starts, 0, 1, 0}, {starts + 1, 0, 1, 0}, answers, logits.size(2), device);
}

inline Predicted predicted_of(const char* function, const char* name, const TensorView& view, Device device) {
  check_ndim(function, name, view, 4);
  check_device(function, name, view, device);
  const std::pair<DType, FloatKind> kinds[] = {{kFloat16, FloatKind::kHalf},
                                               {kBFloat16, FloatKind::kBrain},
                                               {kFloat32, FloatKind::kSingle},
                                               {kFloat64, FloatKind::kDouble}};
  for (const auto& [dtype, kind] : kinds)
    if (view.dtype == dtype)
      return {view.ptr<void>(),
              kind,
              {view.stride(0), view.stride(1), view.stride(2), view.stride(3)},
              view.size(3)};
  fail(function, name + (" is " + to_string(view.dtype)) + ", expected floating point");
}

template <typename Real>
const Real* normaliser_of(const char* function, const char* name, const std::optional<TensorView>& view,
                          const TensorView& logits, Device device) {
  if (!view) return nullptr;
  check_vectors(function, {{name, &*view}}, sizeof(Real) == sizeof(double) ? kFloat64 : kFloat32, device);
  check_shape(function, name, *view, {logits.size(0), logits.size(1), logits.size(2)});
  return view->ptr<Real>();
}

template <typename Real>
Predictions<Real> predictions_of(Type<Real>, const char* function, const MatchInput& in, Device device) {
  const TensorView& logits = in.logits;
  const Predicted classes = predicted_of(function, "logits", logits, device);
  const Predicted boxes = predicted_of(function, "boxes", in.boxes, device);
  check_shape(function, "boxes", in.boxes, {logits.size(0), logits.size(1), logits.size(2), 4});
  Predicted attributes{};
  if (in.attribute_logits) {
    const TensorView& view = *in.attribute_logits;
    attributes = predicted_of(function, "attribute_logits", view, device);
    check_shape(function, "attribute_logits", view,
                {logits.size(0), logits.size(1), logits.size(2), view.size(3)});
  }
  const int64_t targets = in.labels.size(0);
  check_vectors(function, {{"target_boxes", &in.target_boxes}}, kFloat32, device);
  check_vectors(function, {{"labels", &in.labels}, {"attributes", &in.attributes}}, kInt64, device);
  check_shape(function, "target_boxes", in.target_boxes, {targets, 4});
  check_shape(function, "labels", in.labels, {targets});
  check_shape(function, "attributes", in.attributes, {targets});
  const std::vector<double>& weights = in.weights;
  if (weights.size() != 6)
    fail(function, "weights has " + std::to_string(weights.size()) + " entries, expected 6");
  const bool is_softmax = in.class_cost == ClassCost::kSoftmax && !in.are_probabilities;
  const bool has_softmax = in.attribute_logits.has_value() && !in.are_probabilities;
  if (is_softmax != in.normaliser.has_value() || has_softmax != in.attribute_normaliser.has_value())
    fail(function, "a normaliser is missing or too many, expected one for each softmax");
  return {classes,
          boxes,
          attributes,
          in.are_probabilities,
          normaliser_of<Real>(function, "normaliser", in.normaliser, logits, device),
          normaliser_of<Real>(function, "attribute_normaliser", in.attribute_normaliser, logits, device),
          static_cast<int32_t>(logits.size(1)),
          static_cast<int32_t>(logits.size(2)),
          in.target_boxes.ptr<float>(),
          in.labels.ptr<int64_t>(),
          in.attributes.ptr<int64_t>(),
          in.class_cost,
          {weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]}};
}

// Calls body(Type<Real>{}): float64 where a prediction is, float32 otherwise.
template <typename Body>
void dispatch_precision(const MatchInput& in, Body&& body) {
  if (in.logits.dtype == kFloat64 || in.boxes.dtype == kFloat64) return body(Type<double>{});
  body(Type<float>{});
}

}  // namespace vlp
