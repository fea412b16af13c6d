// What every CUDA operator does around its launch: work on the tensor's own device and the caller's stream,
// and report a launch that the driver refused.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "tensor_view.h"

namespace vlp {

constexpr DeviceType kDevice = kCUDA;

inline void check_cuda(const char* function, cudaError_t status) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(function) + ": " + cudaGetErrorString(status));
}

// Makes a device current for a scope.
class DeviceGuard {
 public:
  DeviceGuard(const char* function, int device) {
    check_cuda(function, cudaGetDevice(&previous_));
    check_cuda(function, cudaSetDevice(device));
  }
  ~DeviceGuard() { cudaSetDevice(previous_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = 0;
};

// Shared memory that a block may ask for.
inline int64_t shared_limit(const char* function, int device) {
  int bytes = 0;
  check_cuda(function, cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}

// Streaming multiprocessors, of which each runs some blocks at a time.
inline int num_processors(const char* function, int device) {
  int count = 0;
  check_cuda(function, cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

struct Launch {
  const char* function;
  int64_t blocks;
  int threads;
  int64_t shared_bytes;
  void* stream;

  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), const Arguments&... arguments) const {
    if (blocks == 0) return;
    if (shared_bytes > kSharedUnasked) {  // always the same number: another thread may be about to launch
      int device = 0;
      check_cuda(function, cudaGetDevice(&device));
      check_cuda(function, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                static_cast<int>(shared_limit(function, device))));
    }
    kernel<<<static_cast<unsigned>(blocks), threads, shared_bytes, static_cast<cudaStream_t>(stream)>>>(
        arguments...);
    check_cuda(function, cudaGetLastError());
  }

 private:
  static constexpr int64_t kSharedUnasked = 48 * 1024;  // beyond, a kernel must say so
};

}  // namespace vlp
