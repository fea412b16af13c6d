// One thread as the team of shortest_paths.h. A scan is two short loops over the columns without a branch and
// with integer minima, which compilers turn into vector instructions as they do not with those of doubles.
#pragma once

#include "shortest_paths.h"

namespace vlp {

struct ThreadTeam {
  int64_t* key;  // of each column's offer

  template <typename Body>
  VLP_HOST_DEVICE void each(int32_t count, Body&& body) const {
    for (int32_t j = 0; j < count; ++j) body(j);
  }

  template <typename DistanceOf, typename RankOf>
  VLP_HOST_DEVICE Offer nearest(int32_t count, DistanceOf&& distance_of, RankOf&& rank_of) const {
    int64_t* const keys = key;
    int64_t nearest = INT64_MAX;
#pragma GCC ivdep
    for (int32_t j = 0; j < count; ++j) {
      keys[j] = ordered(distance_of(j));
      nearest = keys[j] < nearest ? keys[j] : nearest;
    }
    int64_t best = INT32_MAX;
#pragma GCC ivdep
    for (int32_t j = 0; j < count; ++j) {
      const int64_t rank = rank_of(j);
      const int64_t offer = keys[j] == nearest ? rank : INT32_MAX;
      best = offer < best ? offer : best;
    }
    return {unordered(nearest), static_cast<int32_t>(best)};
  }

  template <typename Body>
  VLP_HOST_DEVICE void once(Body&& body) const {
    body();
  }
  template <typename Body>
  VLP_HOST_DEVICE void owner(int32_t column, Body&& body) const {
    body(column);
  }
  VLP_HOST_DEVICE void sync() const {}
};

}  // namespace vlp
