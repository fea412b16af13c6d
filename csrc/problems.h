// Which problems a call solves, where their costs come from if they are given, and where the answers go.
//
// Costs are (A, T, Q): A layers, whose T rows belong to B images. Each image of each layer is a problem of
// its own: its rows, first_row to last_row, are assigned to the Q columns.
#pragma once

#include "shortest_paths.h"

namespace vlp {

// Outcome of one problem, as Python reads it.
enum Status : int8_t {
  kSolved = 0,
  kMended = 1,  // solved, with entries replaced that were not finite
  kInfeasible = 2,
  kInvalid = 3,
};

// One problem of the user: `height` rows, `width` columns. It is solved with its shorter side as rows.
struct Problem {
  int32_t layer, image, first, height, width;

  VLP_HOST_DEVICE bool is_transposed() const { return height > width; }
  VLP_HOST_DEVICE int32_t rows() const { return is_transposed() ? width : height; }
  VLP_HOST_DEVICE int32_t columns() const { return is_transposed() ? height : width; }
  VLP_HOST_DEVICE int64_t cells() const { return static_cast<int64_t>(height) * width; }

  // Where an entry lies in the matrix that is solved, which is dense.
  VLP_HOST_DEVICE int64_t cell(int32_t row, int32_t column) const {
    return is_transposed() ? static_cast<int64_t>(column) * height + row
                           : static_cast<int64_t>(row) * width + column;
  }
};

// Of each image, or of each image of each layer; without data the same for all.
struct RowBound {
  const int32_t* data;
  int64_t layer_stride, image_stride;
  int32_t everywhere;

  VLP_HOST_DEVICE int32_t at(int32_t layer, int32_t image) const {
    return data == nullptr ? everywhere : read_only(data + layer * layer_stride + image * image_stride);
  }
};

struct Problems {
  RowBound first_row, last_row;
  int32_t layers, images, rows, columns;
  int64_t* column_of_row;  // (A, T)
  int8_t* status;          // (A, B)

  VLP_HOST_DEVICE int32_t count() const { return layers * images; }
  VLP_HOST_DEVICE Problem at(int32_t number) const {
    const int32_t layer = number / images, image = number % images;
    const int32_t first =
        smaller(larger(first_row.at(layer, image), 0), rows);  // nothing is written elsewhere
    const int32_t last = smaller(larger(last_row.at(layer, image), first), rows);
    return {layer, image, first, last - first, columns};
  }
  VLP_HOST_DEVICE int64_t* answer(const Problem& problem) const {
    return column_of_row + static_cast<int64_t>(problem.layer) * rows + problem.first;
  }

  // Row i of the solved matrix took column chosen[i].
  VLP_HOST_DEVICE void write(const Problem& problem, int32_t i, int32_t chosen) const {
    answer(problem)[problem.is_transposed() ? chosen : i] = problem.is_transposed() ? i : chosen;
  }
};

// A cost, and whether it can be used as it is.
template <typename T>
struct Entry {
  T cost;
  bool is_good;
};

// Costs that are given: (A, T, Q) in any layout.
template <typename T>
struct Matrix {
  using Value = T;                       // of a cost
  using Precision = T;                   // in which it is computed
  static constexpr bool kMends = false;  // NaN and -inf have no place in any order: the problem is refused

  const T* values;
  int64_t layer_stride, row_stride, column_stride;
  T sign;  // -1 to look for the largest sum

  struct Column {
    const T* values;
    int64_t row_stride;
    T sign;

    VLP_HOST_DEVICE Entry<T> operator()(int32_t row) const {
      const T cost = sign * read_only(values + row * row_stride);
      return {cost, cost > -kFar};
    }
  };

  VLP_HOST_DEVICE Column column(int32_t layer, int32_t, int32_t column) const {
    return {values + layer * layer_stride + column * column_stride, row_stride, sign};
  }
};

}  // namespace vlp
