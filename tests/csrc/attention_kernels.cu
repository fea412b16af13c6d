// Every kernel that attention.cu launches, and no code of the host.
#include "cuda/attention_backward.cuh"
#include "cuda/attention_forward.cuh"

namespace vlp {

template __global__ void attention_forward_kernel<32>(ForwardInput);
template __global__ void attention_forward_kernel<64>(ForwardInput);
template __global__ void attention_forward_kernel<128>(ForwardInput);
template __global__ void attention_backward_kernel<ByQueries, 32>(BackwardInput);
template __global__ void attention_backward_kernel<ByQueries, 64>(BackwardInput);
template __global__ void attention_backward_kernel<ByQueries, 128>(BackwardInput);
template __global__ void attention_backward_kernel<ByKeys, 32>(BackwardInput);
template __global__ void attention_backward_kernel<ByKeys, 64>(BackwardInput);
template __global__ void attention_backward_kernel<ByKeys, 128>(BackwardInput);

}  // namespace vlp
