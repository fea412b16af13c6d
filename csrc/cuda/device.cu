// Does this binary hold code for the tensor's GPU? One empty kernel, one thread, no memory traffic: a launch
// fails at once with "no kernel image is available" where neither machine code nor PTX fits.
#include "cuda/stream.h"
#include "ops.h"

namespace vlp {
namespace {

constexpr const char* kName = "device_probe";

__global__ void nothing() {}

}  // namespace

void device_probe(StreamView tensor) {
  check_device(kName, "tensor", tensor.view, Device{kDevice, tensor.view.device.index});
  const DeviceGuard guard(kName, tensor.view.device.index);
  Launch{kName, 1, 1, 0, tensor.stream}(nothing);
}

}  // namespace vlp
