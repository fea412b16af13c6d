// Stands in for csrc/cuda/stream.h where kernels run on the CPU: tensors of the CPU, launches that are loops.
#pragma once

#include <cstdlib>

#include "check.h"
#include "cuda_on_cpu.h"

namespace vlp {

constexpr DeviceType kDevice = kCPU;

alignas(128) inline double shared[(1 << 20) / sizeof(double)];  // of the block that runs

struct DeviceGuard {
  DeviceGuard(const char*, int) {}
};

// A Hopper GPU's, unless a test wants less.
inline int64_t shared_limit(const char*, int) {
  const char* asked = std::getenv("CUDA_ON_CPU_SHARED_BYTES");
  return asked == nullptr ? 227 * 1024 : std::atoll(asked);
}

inline int num_processors(const char*, int) { return 2; }

struct Launch {
  const char* function;
  int64_t blocks;
  int threads;
  int64_t shared_bytes;
  void* stream;

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), const Arguments&... arguments) const {
    std::memset(shared, 0xff, sizeof(shared));
    std::vector<unsigned> order(blocks);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), std::mt19937(static_cast<unsigned>(blocks)));
    for (unsigned number : order) {
      blockIdx.x = number;
      gridDim.x = static_cast<unsigned>(blocks);
      std::memset(shared, 0xff, shared_bytes);  // NaN: nobody may count on zeros
      cuda_on_cpu::block.run(threads, [&] { kernel(arguments...); });
      check_end();
    }
  }

 private:
  // Nothing may be written behind the shared memory that was asked for.
  void check_end() const {
    const auto* behind = reinterpret_cast<const unsigned char*>(shared) + shared_bytes;
    const size_t count = sizeof(shared) - shared_bytes;  // all alike, if each is its neighbour's like
    if (behind[0] != 0xff || std::memcmp(behind, behind + 1, count - 1) != 0)
      throw std::logic_error(std::string(function) + ": wrote beyond its shared memory");
  }
};

}  // namespace vlp
