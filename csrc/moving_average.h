// The visual dictionary's moving averages, one number at a time.
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

}  // namespace vlp
