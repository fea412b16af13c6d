// Dropout as a function of where a value stands; the definition is vlp_fast/reference/dropout.py.
#pragma once

#include "host_device.h"

namespace vlp {

// Murmur3's finaliser of a state and the next counter of the place.
VLP_HOST_DEVICE uint32_t mix(uint32_t state, int32_t counter) {
  uint32_t x = state + static_cast<uint32_t>(counter) * 0x9E3779B9u;
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

// Whether a value is kept, of the two that the state of their pair decides about.
VLP_HOST_DEVICE bool is_kept(uint32_t pair, int32_t column, int32_t threshold) {
  return static_cast<int16_t>(column % 2 == 0 ? pair : pair >> 16) >= threshold;
}

// Which weights of attention are dropped.
struct Dropout {
  const int64_t* seed;  // null: none
  int32_t threshold;    // round(65536 p) - 32768
  float factor;         // of what is kept, 1 / (1 - p)

  // Of query i: counters are the sequence, the head, the query, then half the key.
  VLP_HOST_DEVICE uint32_t of_row(int32_t sequence, int32_t head, int32_t query) const {
    if (seed == nullptr) return 0;
    return mix(mix(mix(static_cast<uint32_t>(read_only(seed)), sequence), head), query);
  }
};

}  // namespace vlp
