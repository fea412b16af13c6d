// The kernels of matching.cu: no header of the host in here, so that NVRTC compiles them too.
//
// A problem is a chain of dependent scans of its columns, so what counts is the latency of one scan. A block
// reads or computes the costs of one problem into shared memory; then one warp of it (the whole block beyond
// 1,024 columns) solves it there.
#pragma once

#include "cuda/team.cuh"
#include "matching_cost.h"

namespace vlp {

constexpr int kAbreast = 128;    // threads of a block that work on different columns at a time
constexpr int kNormalisers = 8;  // warps of a block of normalise_kernel

// Costs where they are solved: dense, shorter side as rows.
template <typename T>
struct Tile {
  const T* values;
  int32_t columns;

  VLP_HOST_DEVICE double operator()(int32_t row, int32_t column) const {
    return static_cast<double>(values[static_cast<int64_t>(row) * columns + column]);
  }
};

// Costs of a matrix read where the caller has them.
template <typename T>
struct InPlace {
  const T* values;
  int64_t row_stride, column_stride;
  T sign;

  VLP_HOST_DEVICE double operator()(int32_t row, int32_t column) const {
    return static_cast<double>(sign * read_only(values + row * row_stride + column * column_stride));
  }
};

// Where costs go that have no room in shared memory: a matrix stays where it is, predictions need `scratch`.
template <typename T>
__device__ __forceinline__ T* far_tile(const Matrix<T>&, const Problems&, const Problem&, float*) {
  return nullptr;
}
template <typename Real>
__device__ __forceinline__ float* far_tile(const Predictions<Real>&, const Problems& problems,
                                           const Problem& problem, float* scratch) {
  if (scratch == nullptr) return nullptr;
  return scratch + (static_cast<int64_t>(problem.layer) * problems.rows + problem.first) * problem.width;
}

template <typename T>
__device__ __forceinline__ InPlace<T> far_costs(const Matrix<T>& source, const Problem& problem, const T*) {
  const T* first = source.values + problem.layer * source.layer_stride + problem.first * source.row_stride;
  if (problem.is_transposed()) return {first, source.column_stride, source.row_stride, source.sign};
  return {first, source.row_stride, source.column_stride, source.sign};
}
template <typename Real>
__device__ __forceinline__ Tile<float> far_costs(const Predictions<Real>&, const Problem& problem,
                                                 const float* tile) {
  return {tile, problem.columns()};
}

// Costs of a problem into `tile`, if there is one. A thread stays with a column, and reads once what all
// entries of a column share. In all threads: was every entry good?
template <int kBlock, typename Source>
__device__ __forceinline__ bool read(const Source& source, const Problem& problem,
                                     typename Source::Value* tile) {
  bool is_good = true;
  for (int32_t j = threadIdx.x % kAbreast; j < problem.width; j += kAbreast) {
    const auto column = source.column(problem.layer, problem.image, j);
#pragma unroll 2
    for (int32_t i = threadIdx.x / kAbreast; i < problem.height; i += kBlock / kAbreast) {
      const auto entry = column(problem.first + i);
      is_good = is_good && entry.is_good;
      if (tile != nullptr) tile[problem.cell(i, j)] = entry.cost;
    }
  }
  return __syncthreads_and(is_good);
}

// Blocks of a kernel that a multiprocessor is to hold at a time, which bounds the registers of a thread: as
// many as leave every kernel without spills (tests/csrc/cuda_resources.csv).
template <typename Team, typename Source>
constexpr int kResident =
    sizeof(typename Source::Precision) == sizeof(double) ? (Team::kThreads > 32 ? 2 : 4)
                                                         : (Team::kThreads > 32 ? 3 : 6);

// One block a problem. Shared memory: what the team needs, the workspace, and the tile if the rest has room.
template <typename Team, typename Source>
__global__ void __launch_bounds__(Team::kBlock, kResident<Team, Source>)
    assign_kernel(const Source source, const Problems problems, const int64_t shared_bytes, float* scratch) {
  using Value = typename Source::Value;
  extern __shared__ double shared[];
  const Problem problem = problems.at(blockIdx.x);
  const int32_t rows = problem.rows(), columns = problem.columns();
  const int64_t work_bytes = Team::kSharedBytes + Workspace::bytes(rows, columns);
  const bool is_near = work_bytes + problem.cells() * static_cast<int64_t>(sizeof(Value)) <= shared_bytes;
  char* memory = reinterpret_cast<char*>(shared);
  auto* near_tile = reinterpret_cast<Value*>(memory + work_bytes);
  Value* tile = is_near ? near_tile : far_tile(source, problems, problem, scratch);

  int64_t* answer = problems.answer(problem);
  for (int32_t i = threadIdx.x; i < problem.height; i += Team::kBlock) answer[i] = kNobody;
  const bool is_good = read<Team::kBlock>(source, problem, tile);
  if (threadIdx.x >= Team::kThreads) return;

  // No room only if the caller's bound on the rows was too low.
  const bool has_room = work_bytes <= shared_bytes && (tile != nullptr || !Source::kMends);
  Status status = kInvalid;
  if (has_room && (is_good || Source::kMends)) {
    const Team team(memory);
    const Workspace work = Workspace::in(memory + Team::kSharedBytes, rows, columns);
    const bool is_solved = is_near
                               ? shortest_paths(team, Tile<Value>{near_tile, columns}, rows, columns, work)
                               : shortest_paths(team, far_costs(source, problem, tile), rows, columns, work);
    status = !is_solved ? kInfeasible : is_good ? kSolved : kMended;
    if (is_solved) team.each(rows, [&](int32_t i) { problems.write(problem, i, work.column_of_row[i]); });
  }
  // A bool if entries are mended: was anything not as it should be?
  if (threadIdx.x == 0) problems.status[blockIdx.x] = Source::kMends ? status != kSolved : status;
}

// Logits and where the logarithm of the sum of each query's exponentials goes.
template <typename Real>
struct Softmax {
  Predicted logits;
  Real* normaliser;  // (A, B, Q)
};

// By one warp.
template <typename Real>
__device__ __forceinline__ void normalise(const Softmax<Real>& softmax, const Problems& problems,
                                          int64_t number) {
  const Problem problem = problems.at(static_cast<int32_t>(number / problems.columns));
  if (problem.height == 0) return;  // nobody asks
  const auto row = softmax.logits.template row<Real>(problem.layer, problem.image, number % problems.columns);
  const int32_t lane = threadIdx.x % 32;

  Real most = -static_cast<Real>(kFar);
  for (int64_t i = lane; i < row.size; i += 32) most = larger(most, row[i]);
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    most = larger(most, __shfl_xor_sync(kAllLanes, most, distance));
  Real sum = 0;
  for (int64_t i = lane; i < row.size; i += 32) sum += exponential(row[i] - most);
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(kAllLanes, sum, distance);
  if (lane == 0) softmax.normaliser[number] = most + logarithm(sum);
}

// A warp for each query of one softmax or two.
template <typename Real>
__global__ void __launch_bounds__(32 * kNormalisers, 1)
    normalise_kernel(const Softmax<Real> first, const Softmax<Real> second, const Problems problems,
                     const int64_t count) {
  const int64_t number = static_cast<int64_t>(blockIdx.x) * kNormalisers + threadIdx.x / 32;
  const int64_t queries = static_cast<int64_t>(problems.count()) * problems.columns;
  if (number >= count) return;
  if (number < queries)
    normalise(first, problems, number);
  else
    normalise(second, problems, number - queries);
}

}  // namespace vlp
