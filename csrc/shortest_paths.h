// Linear sum assignment by shortest augmenting paths: the algorithm, for any team of lanes.
//
// Rows buy columns. Prices keep every reduced cost
//   cost(i, j) - row_price[i] - column_price[j] >= 0,
// with equality on chosen pairs. Each row first takes its cheapest column if that is free. Every row left
// then runs a Dijkstra search over the columns, from itself to the nearest free one; prices move so that the
// path found has reduced cost zero, and the path is flipped. Column prices are never positive and zero on
// free columns, which makes the result optimal with more columns than rows too. At most rows^2 scans of the
// columns. Sources: R. Jonker and A. Volgenant, Computing 38 (1987); D. Crouse, IEEE Trans. AES 52 (2016),
// for the rectangular case.
//
// The same text runs on a GPU, where a warp is the team and columns are spread over its lanes, and on a CPU,
// where one thread is. What a lane writes in `each` and `nearest` belongs to the columns it is called for;
// everything else is written in `once` and read after `sync`. Ties go to a free column, then to the lowest,
// on every team: all of them give the same assignment, bit for bit.
#pragma once

#include "host_device.h"

namespace vlp {

constexpr int32_t kNobody = -1;
constexpr double kFar = kInfinity;

// Doubles as integers of the same order, and back; both zeros are one.
VLP_HOST_DEVICE int64_t ordered(double value) {
  int64_t bits;
  value += 0.0;
  memcpy(&bits, &value, sizeof(bits));
  return bits ^ ((bits >> 63) & INT64_MAX);
}
VLP_HOST_DEVICE double unordered(int64_t key) {
  const int64_t bits = key ^ ((key >> 63) & INT64_MAX);
  double value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// A column on offer: nearer first, then free before taken, then lower.
struct Offer {
  static constexpr int32_t kTaken = 1 << 30;

  double distance;
  int32_t rank;

  VLP_HOST_DEVICE static Offer of(double distance, int32_t column, bool is_free) {
    return {distance, is_free ? column : column + kTaken};
  }
  VLP_HOST_DEVICE static Offer none() { return {kFar, INT32_MAX}; }
  VLP_HOST_DEVICE bool before(const Offer& other) const {
    return distance < other.distance || (distance == other.distance && rank < other.rank);
  }
  VLP_HOST_DEVICE bool is_free() const { return rank < kTaken; }
  VLP_HOST_DEVICE int32_t column() const { return is_free() ? rank : rank - kTaken; }
};

// Memory of one problem, in whatever storage the team has; `columns` and `rows` entries each.
struct Workspace {
  double *column_price, *distance;  // distance: of a settled column, how far it was
  double* barrier;                  // 0 while a column is open, +inf once it is settled
  int32_t *previous_row, *row_of_column;
  double* row_price;
  int32_t* column_of_row;

  // A multiple of 8.
  VLP_HOST_DEVICE static int64_t bytes(int64_t rows, int64_t columns) {
    const int64_t doubles = 3 * columns + rows, integers = 2 * columns + rows;
    return doubles * static_cast<int64_t>(sizeof(double)) + (integers + 1) / 2 * 8;
  }

  // Cut from one piece of 8-byte aligned memory.
  VLP_HOST_DEVICE static Workspace in(void* memory, int32_t rows, int32_t columns) {
    Workspace work;
    work.column_price = static_cast<double*>(memory);
    work.distance = work.column_price + columns;
    work.barrier = work.distance + columns;
    work.row_price = work.barrier + columns;
    work.previous_row = reinterpret_cast<int32_t*>(work.row_price + rows);
    work.row_of_column = work.previous_row + columns;
    work.column_of_row = work.row_of_column + columns;
    return work;
  }
};

template <typename Team, typename Cost>
class ShortestPaths {
 public:
  // cost(i, j) is a double, finite or +inf, for rows <= columns.
  VLP_HOST_DEVICE ShortestPaths(Team team, Cost cost, int32_t rows, int32_t columns, Workspace work)
      : team_(team), cost_(cost), rows_(rows), columns_(columns), work_(work) {}

  // Leaves the choice in work.column_of_row; false if no assignment has a finite cost.
  VLP_HOST_DEVICE bool solve() {
    if (!take_cheapest()) return false;
    for (int32_t row = 0; row < rows_; ++row)
      if (work_.column_of_row[row] == kNobody && !augment(row)) return false;
    return true;
  }

 private:
  // Every row's price becomes its lowest cost, and the row takes that column if nobody has.
  VLP_HOST_DEVICE bool take_cheapest() {
    team_.each(columns_, [&](int32_t j) {
      work_.column_price[j] = 0.0;
      work_.row_of_column[j] = kNobody;
    });
    team_.sync();
    for (int32_t row = 0; row < rows_; ++row) {
      const Offer best = team_.nearest(
          columns_, [&](int32_t j) { return cost_(row, j); }, [&](int32_t j) { return rank(j); });
      if (!(best.distance < kFar)) return false;  // nor NaN, where prices overflow
      team_.once([&] {
        work_.row_price[row] = best.distance;
        work_.column_of_row[row] = best.is_free() ? best.column() : kNobody;
        if (best.is_free()) work_.row_of_column[best.column()] = row;
      });
      team_.sync();
    }
    return true;
  }

  // Find the nearest free column from a row without one, and hand columns on along the way.
  VLP_HOST_DEVICE bool augment(int32_t new_row) {
    team_.each(columns_, [&](int32_t j) {
      work_.distance[j] = kFar;
      work_.barrier[j] = 0.0;
    });
    int32_t row = new_row;
    Offer nearest = Offer::none();
    for (double length = 0.0;; length = nearest.distance) {
      nearest = scan(row, length);
      if (!(nearest.distance < kFar)) return false;
      if (nearest.is_free()) break;
      team_.owner(nearest.column(), [&](int32_t j) { work_.barrier[j] = kFar; });
      row = work_.row_of_column[nearest.column()];
    }
    move_prices(new_row, nearest.distance);
    team_.sync();
    team_.once([&] { flip_path(new_row, nearest.column()); });
    team_.sync();
    return true;
  }

  // Offer every open column the way through `row`; the nearest of them all.
  VLP_HOST_DEVICE Offer scan(int32_t row, double length) {
    const double start = length - work_.row_price[row];
    return team_.nearest(
        columns_,
        [&](int32_t j) {
          // All loads, then all stores: a GPU waits for the former only once.
          const double barrier = work_.barrier[j], so_far = work_.distance[j];
          const int32_t previous = work_.previous_row[j];
          const double through = start + (cost_(row, j) - work_.column_price[j]) + barrier;
          const bool is_nearer = through < so_far;
          const double distance = is_nearer ? through : so_far;
          work_.previous_row[j] = is_nearer ? row : previous;
          work_.distance[j] = distance;
          return distance + barrier;
        },
        [&](int32_t j) { return rank(j); });
  }

  VLP_HOST_DEVICE int32_t rank(int32_t j) const {
    return work_.row_of_column[j] == kNobody ? j : j + Offer::kTaken;
  }

  // Settled columns get cheaper by what they are nearer than the end; their rows pay it.
  VLP_HOST_DEVICE void move_prices(int32_t new_row, double length) {
    team_.each(columns_, [&](int32_t j) {
      if (work_.barrier[j] == 0.0) return;
      const double difference = length - work_.distance[j];
      work_.column_price[j] -= difference;
      work_.row_price[work_.row_of_column[j]] += difference;
    });
    team_.once([&] { work_.row_price[new_row] += length; });
  }

  // Walk back from the free column; every row on the way takes the column behind it.
  VLP_HOST_DEVICE void flip_path(int32_t new_row, int32_t column) {
    int32_t row;
    do {
      row = work_.previous_row[column];
      work_.row_of_column[column] = row;
      const int32_t given_up = work_.column_of_row[row];
      work_.column_of_row[row] = column;
      column = given_up;
    } while (row != new_row);
  }

  Team team_;
  Cost cost_;
  int32_t rows_, columns_;
  Workspace work_;
};

template <typename Team, typename Cost>
VLP_HOST_DEVICE bool shortest_paths(Team team, Cost cost, int32_t rows, int32_t columns, Workspace work) {
  return ShortestPaths<Team, Cost>(team, cost, rows, columns, work).solve();
}

}  // namespace vlp
