// The codes that lead by their score, and how far the best of the others got.
#pragma once

#include "host_device.h"

namespace vlp {

// Three are enough for nearly every row whose nearest code is in doubt: with two more rivals than that within
// the bound, the row goes through all codes again.
struct Leaders {
  static constexpr int kKept = 3;

  float score[kKept];
  int32_t code[kKept];  // -1: none
  float rest;

  VLP_HOST_DEVICE static Leaders none() {
    constexpr float kLow = -static_cast<float>(kInfinity);
    return {{kLow, kLow, kLow}, {-1, -1, -1}, kLow};
  }
  VLP_HOST_DEVICE void offer(float new_score, int32_t new_code) {
    const float last = score[2];
    if (!(new_score > last)) {
      rest = larger(rest, new_score);
      return;
    }
    rest = larger(rest, last);
    const bool is_first = new_score > score[0], is_second = new_score > score[1];
    score[2] = is_second ? score[1] : new_score;
    code[2] = is_second ? code[1] : new_code;
    if (is_second) {
      score[1] = is_first ? score[0] : new_score;
      code[1] = is_first ? code[0] : new_code;
    }
    if (is_first) {
      score[0] = new_score;
      code[0] = new_code;
    }
  }
  VLP_HOST_DEVICE void merge(const Leaders& other) {
    for (int i = 0; i < kKept; ++i)
      if (other.code[i] >= 0) offer(other.score[i], other.code[i]);
    rest = larger(rest, other.rest);
  }
  // How many of those that are kept may be the nearest, if no score is further than `error` from the truth;
  // more than kKept where others may be too. What is not finite proves nothing.
  VLP_HOST_DEVICE int candidates(float error) const {
    const float threshold = score[0] - 2 * error;
    if (!(rest < threshold) || !is_finite(threshold)) return kKept + 1;
    int count = 1;
    for (int i = 1; i < kKept; ++i) count += !(score[i] < threshold);
    return count;
  }
};

}  // namespace vlp
