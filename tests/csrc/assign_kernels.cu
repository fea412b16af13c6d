// Every kernel of csrc/cuda/assign.cuh that matching.cu launches, and no code of the host.
#include "cuda/assign.cuh"

namespace vlp {

template __global__ void assign_kernel<WarpTeam>(Matrix<float>, Problems, int64_t, float*);
template __global__ void assign_kernel<WarpTeam>(Matrix<double>, Problems, int64_t, float*);
template __global__ void assign_kernel<WarpTeam>(Predictions<float>, Problems, int64_t, float*);
template __global__ void assign_kernel<WarpTeam>(Predictions<double>, Problems, int64_t, float*);
template __global__ void assign_kernel<BlockTeam>(Matrix<float>, Problems, int64_t, float*);
template __global__ void assign_kernel<BlockTeam>(Matrix<double>, Problems, int64_t, float*);
template __global__ void assign_kernel<BlockTeam>(Predictions<float>, Problems, int64_t, float*);
template __global__ void assign_kernel<BlockTeam>(Predictions<double>, Problems, int64_t, float*);
template __global__ void normalise_kernel(Softmax<float>, Softmax<float>, Problems, int64_t);
template __global__ void normalise_kernel(Softmax<double>, Softmax<double>, Problems, int64_t);

}  // namespace vlp
