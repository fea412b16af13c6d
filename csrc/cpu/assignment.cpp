// Linear sum assignment of a rectangular matrix by shortest augmenting paths.
//
// One row after the other enters the assignment. A Dijkstra search over the columns, on the reduced costs
//   cost[i][j] - row_price[i] - column_price[j] >= 0,
// finds the cheapest path from the new row to a free column; the prices are then moved so that reduced costs
// stay non-negative and are zero along the path, and the path is flipped. O(rows^2 columns) in the worst
// case. Source: R. Jonker and A. Volgenant, Computing 38 (1987); D. Crouse, IEEE Trans. AES 52 (2016), for
// the rectangular case. Different from them: no initialisation phases, which do not pay at our sizes (tens of
// targets, a hundred queries).
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "dispatch.h"
#include "ops.h"

namespace vlp {
namespace {

constexpr const char* kName = "linear_sum_assignment";
constexpr int64_t kFree = -1;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

class ShortestPathAssignment {
 public:
  // cost: rows x columns, row-major, rows <= columns.
  ShortestPathAssignment(std::vector<double> cost, int64_t rows, int64_t columns)
      : cost_(std::move(cost)),
        columns_(columns),
        row_price_(rows, 0.0),
        column_price_(columns, 0.0),
        column_of_row_(rows, kFree),
        row_of_column_(columns, kFree),
        distance_(columns),
        previous_row_(columns),
        open_(columns) {}

  const std::vector<int64_t>& solve() {
    const auto rows = static_cast<int64_t>(row_price_.size());
    for (int64_t row = 0; row < rows; ++row) flip_path(row, search(row));
    return column_of_row_;
  }

 private:
  // Grow the tree of cheapest paths from new_row until it meets a free column, which is returned.
  int64_t search(int64_t new_row) {
    std::fill(distance_.begin(), distance_.end(), kInfinity);
    for (int64_t j = 0; j < columns_; ++j) open_[j] = j;
    num_open_ = columns_;

    int64_t row = new_row;
    double length = 0.0;
    while (true) {
      const int64_t slot = relax(row, length);
      const int64_t column = open_[slot];
      length = distance_[column];
      if (length == kInfinity) fail(kName, "cost matrix is infeasible: some row has no finite choice left");
      std::swap(open_[slot], open_[--num_open_]);  // closed columns gather behind num_open_
      if (row_of_column_[column] == kFree) {
        move_prices(new_row, length);
        return column;
      }
      row = row_of_column_[column];
    }
  }

  // Offer every open column the path through `row`; return the slot of the nearest, a free one if there is a
  // tie.
  int64_t relax(int64_t row, double length) {
    const double* cost = cost_.data() + row * columns_;
    int64_t nearest = 0;
    for (int64_t slot = 0; slot < num_open_; ++slot) {
      const int64_t j = open_[slot];
      const double through_row = length + (cost[j] - row_price_[row] - column_price_[j]);
      if (through_row < distance_[j]) {
        distance_[j] = through_row;
        previous_row_[j] = row;
      }
      const double best = distance_[open_[nearest]];
      if (distance_[j] < best || (distance_[j] == best && row_of_column_[j] == kFree)) nearest = slot;
    }
    return nearest;
  }

  // The last closed column is the free one at `length`, whose price stays: its correction is zero.
  void move_prices(int64_t new_row, double length) {
    row_price_[new_row] += length;
    for (int64_t slot = num_open_; slot < columns_; ++slot) {
      const int64_t column = open_[slot];
      const double correction = length - distance_[column];
      column_price_[column] -= correction;
      if (row_of_column_[column] != kFree) row_price_[row_of_column_[column]] += correction;
    }
  }

  // Walk back from the free column; every row on the way takes the column after it.
  void flip_path(int64_t new_row, int64_t column) {
    int64_t row;
    do {
      row = previous_row_[column];
      row_of_column_[column] = row;
      std::swap(column_of_row_[row], column);
    } while (row != new_row);
  }

  std::vector<double> cost_;
  int64_t columns_;
  std::vector<double> row_price_, column_price_;
  std::vector<int64_t> column_of_row_, row_of_column_;
  std::vector<double> distance_;
  std::vector<int64_t> previous_row_, open_;
  int64_t num_open_ = 0;
};

// The matrix with its shorter side as rows, in double, whatever the strides.
template <typename T>
std::vector<double> read_cost(const TensorView& cost, bool transpose) {
  const int outer = transpose ? 1 : 0, inner = 1 - outer;
  std::vector<double> values;
  values.reserve(cost.size(0) * cost.size(1));
  for (int64_t i = 0; i < cost.size(outer); ++i) {
    for (int64_t j = 0; j < cost.size(inner); ++j) {
      const double value = cost.ptr<T>()[i * cost.stride(outer) + j * cost.stride(inner)];
      if (std::isnan(value) || value == -kInfinity) fail(kName, "cost contains NaN or -inf");
      values.push_back(value);
    }
  }
  return values;
}

}  // namespace

void linear_sum_assignment(TensorView cost, TensorView row_to_col) {
  check_device(kName, "cost", cost, kCPU);
  check_device(kName, "row_to_col", row_to_col, kCPU);
  check_ndim(kName, "cost", cost, 2);
  check_dtype(kName, "row_to_col", row_to_col, kInt64);
  check_shape(kName, "row_to_col", row_to_col, {cost.size(0)});
  check_contiguous(kName, "row_to_col", row_to_col);

  const int64_t rows = cost.size(0), columns = cost.size(1);
  const bool transpose = rows > columns;
  std::vector<double> values;
  dispatch_real(kName, "cost", cost,
                [&](auto tag) { values = read_cost<typename decltype(tag)::type>(cost, transpose); });
  ShortestPathAssignment problem(std::move(values), std::min(rows, columns), std::max(rows, columns));
  const std::vector<int64_t>& chosen = problem.solve();

  auto* out = row_to_col.ptr<int64_t>();
  std::fill(out, out + rows, kFree);
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (transpose)
      out[chosen[i]] = static_cast<int64_t>(i);
    else
      out[i] = chosen[i];
  }
}

}  // namespace vlp
