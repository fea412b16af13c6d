// What every CUDA operator does around its launch: work on the tensor's own device, and report a launch that
// the driver refused.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace vlp {

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

inline cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace vlp
