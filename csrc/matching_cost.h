// The cost of giving a target to a query, from what a decoder layer predicts (DETR, eq. 1):
//   - cost_class p(label) + cost_bbox |b - t|_1 - cost_giou GIoU(b, t) - cost_attribute p(attribute),
// where p is a softmax or a sigmoid, or the first term is Deformable DETR's focal cost.
#pragma once

#include "any_float.h"
#include "problems.h"

namespace vlp {

enum class ClassCost : int32_t { kSoftmax, kSigmoid, kFocal };

// Costs are clipped to it: beyond what boxes in the unit square can cost, and small enough that float64 still
// tells the others apart in a sum with it.
constexpr float kWorstCost = 1e9f;
constexpr float kSmallestArea = 1e-12f;  // below it a box is a point or a line

template <typename Real>
struct Corners {
  Real x1, y1, x2, y2;

  VLP_HOST_DEVICE static Corners of(Real cx, Real cy, Real w, Real h) {
    return {cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2};
  }
  VLP_HOST_DEVICE Real area() const { return larger(x2 - x1, Real(0)) * larger(y2 - y1, Real(0)); }
};

template <typename Real>
VLP_HOST_DEVICE Real ratio(Real part, Real whole) {
  return part / (whole > kSmallestArea ? whole : Real(1));
}

template <typename Real>
VLP_HOST_DEVICE Real giou(const Corners<Real>& a, const Corners<Real>& b) {
  const Corners<Real> both{larger(a.x1, b.x1), larger(a.y1, b.y1), smaller(a.x2, b.x2), smaller(a.y2, b.y2)};
  const Corners<Real> hull{smaller(a.x1, b.x1), smaller(a.y1, b.y1), larger(a.x2, b.x2), larger(a.y2, b.y2)};
  const Real shared = both.area(), united = a.area() + b.area() - shared, around = hull.area();
  return ratio(shared, united) - ratio(around - united, around);
}

// cost_bbox |b - t|_1 - cost_giou GIoU(b, t), of boxes as (cx, cy, w, h).
template <typename Real>
VLP_HOST_DEVICE Real box_cost(const Real (&box)[4], const Real (&target)[4], Real cost_bbox, Real cost_giou) {
  Real distance = 0;
  for (int k = 0; k < 4; ++k) distance += magnitude(box[k] - target[k]);
  const auto corners = Corners<Real>::of(box[0], box[1], box[2], box[3]);
  return cost_bbox * distance -
         cost_giou * giou(corners, Corners<Real>::of(target[0], target[1], target[2], target[3]));
}

// What is not finite costs as much as possible.
template <typename Real>
VLP_HOST_DEVICE Entry<float> mended(Real cost) {
  const bool is_good = is_finite(cost);
  const Real worst = kWorstCost;
  return {static_cast<float>(is_good ? larger(smaller(cost, worst), -worst) : worst), is_good};
}

struct CostWeights {
  double classes, bbox, giou, attribute;
  double focal_alpha, focal_gamma;
};

template <typename Real>
struct Predictions {
  using Value = float;
  using Precision = Real;
  static constexpr bool kMends = true;  // what is not finite costs kWorstCost

  Predicted logits, boxes, attribute_logits;  // or probabilities in place of logits
  bool are_probabilities;
  const Real *normaliser, *attribute_normaliser;  // of logits, (A, B, Q): log of the sum of exponentials
  int32_t images, queries;
  const float* target_boxes;  // (T, 4)
  const int64_t *labels, *attributes;
  ClassCost class_cost;
  CostWeights weights;

  VLP_HOST_DEVICE void read_target(int32_t target, Real (&box)[4]) const {
    for (int k = 0; k < 4; ++k)
      box[k] = static_cast<Real>(read_only(target_boxes + 4 * static_cast<int64_t>(target) + k));
  }

  // Of one query: its class and attribute terms, then the cost of any target of its image.
  class Column {
   public:
    VLP_HOST_DEVICE Column(const Predictions& all, int32_t layer, int32_t image, int32_t query)
        : all_(all),
          logits_(all.logits.template row<Real>(layer, image, query)),
          attributes_(all.attribute_logits.template row<Real>(layer, image, query)) {
      const Row<Real> box = all.boxes.template row<Real>(layer, image, query);
      for (int k = 0; k < 4; ++k) box_[k] = box[k];
      const int64_t place = (static_cast<int64_t>(layer) * all.images + image) * all.queries + query;
      if (all.normaliser != nullptr) normaliser_ = all.normaliser[place];
      if (all.attribute_normaliser != nullptr) attribute_normaliser_ = all.attribute_normaliser[place];
    }

    VLP_HOST_DEVICE Entry<float> operator()(int32_t target) const {
      Real box[4];
      all_.read_target(target, box);
      const auto bbox = static_cast<Real>(all_.weights.bbox), giou = static_cast<Real>(all_.weights.giou);
      return mended(label_terms(target) + box_cost(box_, box, bbox, giou));
    }

    // What does not depend on boxes.
    VLP_HOST_DEVICE Real label_terms(int32_t target) const {
      const Real p = probability(logits_, all_.class_cost == ClassCost::kSoftmax, normaliser_,
                                 read_only(all_.labels + target));
      const Real class_term = all_.class_cost == ClassCost::kFocal ? focal(p) : -p;
      return static_cast<Real>(all_.weights.classes) * class_term +
             attribute_term(read_only(all_.attributes + target));
    }

   private:
    // NaN where the logits are, or where there is no such class.
    VLP_HOST_DEVICE Real probability(const Row<Real>& logits, bool is_softmax, Real normaliser,
                                     int64_t label) const {
      if (label < 0 || label >= logits.size) return kNaN;
      const Real value = logits[label];
      if (all_.are_probabilities) return value;
      if (!is_softmax)
        return value < static_cast<Real>(kInfinity) ? 1 / (1 + exponential(-value)) : Real(kNaN);
      return exponential(value - normaliser) + (normaliser - normaliser);  // NaN if that is not finite
    }

    // Loss of the class as a positive, less that as a negative (Deformable DETR's matcher).
    VLP_HOST_DEVICE Real focal(Real p) const {
      const Real alpha = static_cast<Real>(all_.weights.focal_alpha);
      const Real gamma = static_cast<Real>(all_.weights.focal_gamma);
      const Real tiny = static_cast<Real>(1e-8);
      const Real positive = -alpha * power(1 - p, gamma) * logarithm(p + tiny);
      const Real negative = -(1 - alpha) * power(p, gamma) * logarithm(1 - p + tiny);
      return positive - negative;
    }

    VLP_HOST_DEVICE Real attribute_term(int64_t attribute) const {
      if (all_.attribute_logits.data == nullptr || attribute < 0) return 0;
      return -static_cast<Real>(all_.weights.attribute) *
             probability(attributes_, true, attribute_normaliser_, attribute);
    }

    const Predictions& all_;
    Row<Real> logits_, attributes_;
    Real box_[4];
    Real normaliser_ = 0, attribute_normaliser_ = 0;
  };

  VLP_HOST_DEVICE Column column(int32_t layer, int32_t image, int32_t query) const {
    return Column(*this, layer, image, query);
  }
};

}  // namespace vlp
