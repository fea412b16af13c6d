// Costs of predictions on the CPU: target after target, against all queries of its image at once.
#pragma once

#include <vector>

#include "cpu/vector_clones.h"
#include "matching_cost.h"

namespace vlp {

// Boxes number after number, so that a vector register holds one number of several queries.
template <typename Real>
struct QueryBoxes {
  std::vector<Real> cx, cy, w, h;

  QueryBoxes(const Predictions<Real>& source, const Problem& problem) {
    for (int32_t query = 0; query < problem.width; ++query) {
      const Row<Real> box = source.boxes.template row<Real>(problem.layer, problem.image, query);
      cx.push_back(box[0]), cy.push_back(box[1]), w.push_back(box[2]), h.push_back(box[3]);
    }
  }
};

template <typename Real>
VLP_HOST_DEVICE void box_costs_of(const QueryBoxes<Real>& boxes, const Real (&target)[4], Real cost_bbox,
                                  Real cost_giou, Real* costs) {
  const Real *cx = boxes.cx.data(), *cy = boxes.cy.data(), *w = boxes.w.data(), *h = boxes.h.data();
  const auto count = static_cast<int32_t>(boxes.cx.size());
#pragma GCC ivdep
  for (int32_t q = 0; q < count; ++q) {
    const Real box[4] = {cx[q], cy[q], w[q], h[q]};
    costs[q] = box_cost(box, target, cost_bbox, cost_giou);
  }
}

VLP_VECTOR_CLONES inline void box_costs(const QueryBoxes<float>& boxes, const float (&target)[4],
                                        float cost_bbox, float cost_giou, float* costs) {
  box_costs_of(boxes, target, cost_bbox, cost_giou, costs);
}
VLP_VECTOR_CLONES inline void box_costs(const QueryBoxes<double>& boxes, const double (&target)[4],
                                        double cost_bbox, double cost_giou, double* costs) {
  box_costs_of(boxes, target, cost_bbox, cost_giou, costs);
}

// Costs of a problem as its solver wants them. Was every one finite?
template <typename Real>
bool read(const Predictions<Real>& source, const Problem& problem, double* costs) {
  const QueryBoxes<Real> boxes(source, problem);
  const auto bbox = static_cast<Real>(source.weights.bbox), giou = static_cast<Real>(source.weights.giou);
  std::vector<typename Predictions<Real>::Column> columns;
  for (int32_t query = 0; query < problem.width; ++query)
    columns.push_back(source.column(problem.layer, problem.image, query));
  std::vector<Real> row(problem.width);
  bool is_good = true;
  for (int32_t target = 0; target < problem.height; ++target) {
    Real box[4];
    source.read_target(problem.first + target, box);
    box_costs(boxes, box, bbox, giou, row.data());
    for (int32_t query = 0; query < problem.width; ++query) {
      const Entry<float> entry = mended(row[query] + columns[query].label_terms(problem.first + target));
      is_good &= entry.is_good;
      costs[problem.cell(target, query)] = entry.cost;
    }
  }
  return is_good;
}

}  // namespace vlp
