// The visual dictionary's moving averages, one number at a time, and what a search needs of a code.
#pragma once

#include "host_device.h"

namespace vlp {

// SOHO, eq. 4: a code moves towards the mean of its rows, if it has any. Exact at momentum 0 and 1.
struct TowardsMean {
  float momentum;

  VLP_HOST_DEVICE float operator()(float code, float sum, float count) const {
    const float mean = sum / larger(count, 1.f);
    const float way = code - mean;
    const float moved = momentum < 0.5f ? mean + momentum * way : code - (1 - momentum) * way;
    return count > 0 ? moved : code;
  }
};

struct Decay {
  float old, fresh;  // momentum and 1 - momentum, the latter rounded once

  VLP_HOST_DEVICE float operator()(float average, float value) const { return average * old + value * fresh; }
};

// The public code's rule: averages of sums and of counts, their quotient the code. Before the first row
// there is nothing to divide by.
struct Smoothing {
  float total;        // of all cluster sizes
  float denominator;  // total + K eps
  float eps;

  VLP_HOST_DEVICE float size(float cluster_size) const { return (cluster_size + eps) / denominator * total; }
  VLP_HOST_DEVICE float code(float old, float average, float smoothed_size) const {
    return total > 0 ? average / smoothed_size : old;
  }
};

// Sums over a code's numbers, of which its column of PreparedCodes.terms is made.
struct CodeSums {
  double shifted = 0;   // |d - c|^2
  double bias = 0;      // |d|^2 - |c|^2
  double residual = 0;  // |d - c - operand|^2

  // operand: of `shift(code, centre)`, as it was rounded.
  VLP_HOST_DEVICE static double shift(float code, float centre) {
    return static_cast<double>(code) - static_cast<double>(centre);
  }
  VLP_HOST_DEVICE void add(float code, float centre, float operand) {
    const double difference = shift(code, centre), lost = difference - static_cast<double>(operand);
    shifted += difference * difference;
    bias += difference * (static_cast<double>(code) + static_cast<double>(centre));
    residual += lost * lost;
  }
  // Bounds stay bounds when they are rounded.
  VLP_HOST_DEVICE float term(int32_t number) const {
    constexpr double kUp = 1 + 0x1p-22;
    switch (number) {
      case 0:
        return static_cast<float>(shifted / 2);
      case 1:
        return static_cast<float>(bias / 2);
      case 2:
        return static_cast<float>(sqrt(residual) * kUp);
      default:
        return static_cast<float>(sqrt(shifted) * kUp);
    }
  }
};

}  // namespace vlp
