// CUDA kernels on a CPU: the source that a GPU runs, executed and checked where there is no GPU.
//
// The threads of a block are coroutines that take turns at collective operations (barriers, shuffles,
// reductions), in an order drawn anew each time: what one lane reads before another has written it shows as a
// wrong result in some order. A collective that not all its threads reach, or that they reach in different
// places, is an error, where a GPU would hang or give anything. Not modelled: what happens between two
// collectives at the same time.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __forceinline__ inline __attribute__((always_inline))

struct Index {
  unsigned x;
};
inline Index threadIdx, blockIdx, gridDim;
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace cuda_on_cpu {

constexpr int kLanes = 32, kMostThreads = 1024;
constexpr size_t kStackBytes = 256 << 10;

enum Meeting { kWarp, kBlock, kNone };

struct Thread {
  ucontext_t context;  // where it begins
  jmp_buf place;       // where it waits: unlike swapcontext, no call of the system
  bool is_new;
  std::vector<char> stack = std::vector<char>(kStackBytes);
  bool is_done;
  bool may_go;             // its meeting was complete, and it has not been resumed since
  Meeting meeting;         // what it waits for
  const char* collective;  // under which name
  uint64_t value[2][2];    // given to the others in a warp or block, in turn: nobody is two meetings ahead
  unsigned turn[2];        // how many of either it has been to: warps need not meet equally often
};

// Runs one block of threads at a time.
class Block {
 public:
  void run(int count, const std::function<void()>& body) {
    body_ = body;
    while (static_cast<int>(threads_.size()) < count) threads_.emplace_back();
    for (int i = 0; i < count; ++i) start(threads_[i]);
    for (std::vector<int> order = runnable(count); !order.empty(); order = runnable(count)) {
      std::shuffle(order.begin(), order.end(), random_);
      const int warp = order[0] / kLanes;  // one warp at a time: they drift apart
      ++round_;
      for (int i : order)
        if (i / kLanes == warp) resume(i);
    }
  }

  // Waits until all threads of the meeting are here, and returns the turn whose values are theirs.
  unsigned meet(Meeting meeting, const char* collective, uint64_t value) {
    Thread& self = threads_[current_];
    const unsigned turn = self.turn[meeting]++ % 2;
    self.value[meeting][turn] = value;
    self.meeting = meeting;
    self.collective = collective;
    if (_setjmp(self.place) == 0) _longjmp(scheduler_, 1);
    return turn;
  }
  uint64_t value(int thread, unsigned turn) const { return threads_[thread].value[kWarp][turn]; }
  // Whether no thread of a block's meeting gave 0; some of them may have left since.
  bool nobody_gave_zero(unsigned turn) const { return nobody_gave_zero_[turn]; }
  int current() const { return current_; }
  // How many of its warp the thread that runs has been to: in a meeting the same number for all.
  unsigned meetings() const { return threads_[current_].turn[kWarp]; }
  // Of all that any block has had: in one, lanes of a warp run up to their next meetings.
  uint64_t round() const { return round_; }

 private:
  void start(Thread& thread) {
    thread.is_done = thread.may_go = false;
    thread.is_new = true;
    thread.meeting = kNone;
    thread.turn[kWarp] = thread.turn[kBlock] = 0;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.data();
    thread.context.uc_stack.ss_size = thread.stack.size();
    thread.context.uc_link = nullptr;  // it leaves by a jump
    makecontext(&thread.context, &Block::enter, 0);
  }
  static void enter();
  void body() {
    try {
      body_();
    } catch (...) {  // it may not leave the stack of a coroutine
      error_ = std::current_exception();
    }
    threads_[current_].is_done = true;
    _longjmp(scheduler_, 1);
  }
  void resume(int i) {
    current_ = i;
    threadIdx.x = i;
    threads_[i].meeting = kNone;
    threads_[i].may_go = false;
    if (_setjmp(scheduler_) == 0) {
      if (!std::exchange(threads_[i].is_new, false)) _longjmp(threads_[i].place, 1);
      setcontext(&threads_[i].context);
    }
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

  // Threads whose meeting is complete. If there are none but some wait, the kernel would hang.
  std::vector<int> runnable(int count) {
    size_ = count;
    std::vector<int> found;
    bool somebody_waits = false;
    int asked[2] = {-1, -1};  // the warp, or block, whose meeting was looked at last, and what was found
    bool answer[2];
    for (int i = 0; i < count; ++i) {
      const Thread& thread = threads_[i];
      if (thread.is_done) continue;
      somebody_waits = true;
      if (!thread.may_go && thread.meeting != kNone) {
        const int team = thread.meeting == kWarp ? i / kLanes : 0;
        if (std::exchange(asked[thread.meeting], team) != team) answer[thread.meeting] = is_complete(i);
        if (!answer[thread.meeting]) continue;
      }
      found.push_back(i);
    }
    const auto at_block = [&](int i) { return threads_[i].meeting == kBlock && !threads_[i].may_go; };
    const auto one = std::find_if(found.begin(), found.end(), at_block);
    if (one != found.end()) remember((threads_[*one].turn[kBlock] - 1) % 2);
    for (int i : found) threads_[i].may_go = true;
    if (found.empty() && somebody_waits) throw std::logic_error("cuda_on_cpu: threads wait for each other");
    return found;
  }
  void remember(unsigned turn) {
    nobody_gave_zero_[turn] = true;
    for (int j = 0; j < size_; ++j)
      if (!threads_[j].is_done && threads_[j].value[kBlock][turn] == 0) nobody_gave_zero_[turn] = false;
  }
  bool is_complete(int i) const {
    const Thread& self = threads_[i];
    const bool in_warp = self.meeting == kWarp;
    const int first = in_warp ? i / kLanes * kLanes : 0, last = in_warp ? first + kLanes : size_;
    for (int j = first; j < last; ++j) {
      const Thread& other = threads_[j];
      if (other.is_done && in_warp) throw std::logic_error("cuda_on_cpu: a lane left before its warp met");
      if (other.is_done) continue;
      if (other.meeting != self.meeting || other.turn[self.meeting] != self.turn[self.meeting]) return false;
      if (other.collective != self.collective && std::strcmp(other.collective, self.collective) != 0)
        throw std::logic_error(std::string("cuda_on_cpu: ") + self.collective + " met " + other.collective);
    }
    return true;
  }

  std::function<void()> body_;
  std::exception_ptr error_;
  std::vector<Thread> threads_;
  jmp_buf scheduler_;
  uint64_t round_ = 0;
  std::mt19937 random_{0};
  int current_ = 0, size_ = 0;
  bool nobody_gave_zero_[2];
};

inline Block block;
inline void Block::enter() { block.body(); }

template <typename T>
uint64_t pack(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <typename T>
T unpack(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::block.meet(cuda_on_cpu::kBlock, "__syncthreads", 0); }

inline int __syncthreads_and(int predicate) {
  using namespace cuda_on_cpu;
  const unsigned turn = block.meet(kBlock, "__syncthreads_and", predicate != 0);
  return block.nobody_gave_zero(turn);
}

template <typename T>
T __ldg(const T* place) {
  if (reinterpret_cast<uintptr_t>(place) % alignof(T) != 0)
    throw std::logic_error("cuda_on_cpu: a read from no multiple of its size");
  return *place;
}

inline void __syncwarp() { cuda_on_cpu::block.meet(cuda_on_cpu::kWarp, "__syncwarp", 0); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int distance) {
  using namespace cuda_on_cpu;
  const unsigned turn = block.meet(kWarp, "__shfl_xor_sync", pack(value));
  return unpack<T>(block.value(block.current() ^ distance, turn));
}

template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  using namespace cuda_on_cpu;
  const unsigned turn = block.meet(kWarp, "__shfl_sync", pack(value));
  return unpack<T>(block.value(block.current() / kLanes * kLanes + lane, turn));
}

// Bit i is set if lane i's value passes.
template <typename Predicate>
unsigned lanes_that(const char* collective, uint64_t value, Predicate&& passes) {
  using namespace cuda_on_cpu;
  const unsigned turn = block.meet(kWarp, collective, value);
  unsigned found = 0;
  for (int i = 0; i < kLanes; ++i)
    if (passes(block.value(block.current() / kLanes * kLanes + i, turn))) found |= 1u << i;
  return found;
}
inline int __all_sync(unsigned mask, int predicate) {
  return lanes_that("__all_sync", predicate != 0, [](uint64_t other) { return other != 0; }) == mask;
}
template <typename T>
unsigned __match_any_sync(unsigned, T value) {
  const uint64_t own = cuda_on_cpu::pack(value);
  return lanes_that("__match_any_sync", own, [&](uint64_t other) { return other == own; });
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

// Threads take turns at meetings only: nobody comes between.
template <typename T>
T atomicAdd(T* place, T value) {
  const T old = *place;
  *place += value;
  return old;
}

template <typename T>
T __reduce_min_sync(unsigned, T value) {
  using namespace cuda_on_cpu;
  const unsigned turn = block.meet(kWarp, "__reduce_min_sync", pack(value));
  const int first = block.current() / kLanes * kLanes;
  for (int i = first; i < first + kLanes; ++i) value = std::min(value, unpack<T>(block.value(i, turn)));
  return value;
}
