// Every kernel that dictionary.cu and dictionary_update.cu launch, and no code of the host.
#include "cuda/prepare_codes.cuh"
#include "cuda/resolve_rows.cuh"
#include "cuda/sum_rows.cuh"
#include "cuda/update_codes.cuh"

namespace vlp {

template __global__ void assign_codes_kernel<FloatKind::kHalf>(Rows, Codes, Found);
template __global__ void assign_codes_kernel<FloatKind::kBrain>(Rows, Codes, Found);
template __global__ void assign_codes_kernel<FloatKind::kSingle>(Rows, Codes, Found);
template __global__ void resolve_rows_kernel<FloatKind::kHalf>(Rows, Codes, Found);
template __global__ void resolve_rows_kernel<FloatKind::kBrain>(Rows, Codes, Found);
template __global__ void resolve_rows_kernel<FloatKind::kSingle>(Rows, Codes, Found);
template __global__ void count_rows_kernel<false>(Rows, Sorting);
template __global__ void count_rows_kernel<true>(Rows, Sorting);
template __global__ void add_rows_kernel<false>(Rows, const int64_t*, int32_t, float*);
template __global__ void add_rows_kernel<true>(Rows, const int64_t*, int32_t, float*);
template __global__ void update_codes_kernel(Paper, int32_t, int32_t);
template __global__ void update_codes_kernel(Official, int32_t, int32_t);

}  // namespace vlp
