// Threads of one call: started, put to work, joined.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace vlp {

// Runs work() on up to `count` threads, this one among them. Rethrows what the first of them throws.
template <typename Work>
void on_threads(int64_t count, Work&& work) {
  std::exception_ptr failure;  // memory that is not to be had, say
  std::once_flag first;
  const auto guarded = [&] {
    try {
      work();
    } catch (...) {
      std::call_once(first, [&] { failure = std::current_exception(); });
    }
  };
  std::vector<std::thread> helpers;
  try {
    helpers.reserve(std::max<int64_t>(count - 1, 0));
    for (int64_t i = 1; i < count; ++i) helpers.emplace_back(guarded);
  } catch (...) {  // no more threads, or memory for them, are to be had: those that are do the work
  }
  guarded();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

// How many threads are worth their start. It takes as long as reading a hundred thousand numbers, and longer
// where the threads of a product that has just ended still spin: on two cores, a chunk of 2^19 scores was
// decided in 0.2 ms by one thread, and a search with two took 124 ms instead of 91.
inline int64_t worth_starting(int64_t threads, int64_t numbers) {
  return std::min(threads, 1 + numbers / (1 << 20));
}

// Parts of a range of `count`, taken by whichever thread is free.
class Shares {
 public:
  Shares(int64_t count, int64_t part) : count_(count), part_(part) {}

  // Calls body(number) for every number of this thread's parts.
  template <typename Body>
  void each(Body&& body) {
    for (int64_t first = next_.fetch_add(part_); first < count_; first = next_.fetch_add(part_))
      for (int64_t number = first; number < std::min(first + part_, count_); ++number) body(number);
  }

 private:
  const int64_t count_, part_;
  std::atomic<int64_t> next_{0};
};

}  // namespace vlp
