// Table of contents: everything that bindings.cpp offers to Python.
#pragma once

#include "assignment.h"

namespace vlp {

// cpu/matching.cpp
void assign(const TensorView& cost, const std::optional<TensorView>& num_rows, const Answers& answers,
            bool maximize, int64_t threads);
Status assign_one(const Matrix<double>& cost, int64_t rows, int64_t columns, int64_t* column_of_row);
void match(const MatchInput& in, const TensorView& cu_targets, const Answers& answers, int64_t threads);

// cpu/dictionary.cpp
bool multiplies_brain();
void centre_rows(const TensorView& x, const TensorView& centre, const TensorView& operand,
                 const TensorView& bounds, int64_t threads);
void decide_rows(const TensorView& products, const TensorView& bounds, const TensorView& x,
                 const TensorView& codes, const TensorView& terms, const std::optional<TensorView>& valid,
                 int64_t excluded, double rounding, const TensorView& indices, int64_t threads);

// cpu/products.cpp
bool multiplies_single();
void multiply_rows(const TensorView& rows, const TensorView& codes, const TensorView& products,
                   int64_t threads);

// cpu/code_statistics.cpp
void code_statistics(const TensorView& x, const TensorView& indices, int64_t num_codes,
                     const std::optional<TensorView>& valid, bool check_finite, const TensorView& buffer,
                     int64_t threads);

// cpu/prepare_codes.cpp
void prepare_codes(const TensorView& codes, const TensorView& operand, const TensorView& terms,
                   const TensorView& centre, int64_t threads);

// cpu/dictionary_update.cpp
void ema_update(const TensorView& codes, const TensorView& sums, const TensorView& counts, double momentum,
                int64_t threads);
void laplace_ema_update(const TensorView& codes, const TensorView& embed_avg, const TensorView& cluster_size,
                        const TensorView& sums, const TensorView& counts, double momentum, double eps,
                        int64_t threads);

#ifdef VLP_CUDA
// cuda/device.cu
void device_probe(StreamView tensor);

// cuda/matching.cu
void assign_cuda(const StreamView& cost, const std::optional<TensorView>& num_rows, const Answers& answers,
                 bool maximize);
bool fits_in_shared(int64_t rows, int64_t columns, int device);
void match_cuda(const MatchInput& in, const TensorView& cu_targets, const Answers& answers, int64_t longest,
                const std::optional<TensorView>& scratch, void* stream);

// cuda/dictionary.cu
void prepare_codes_cuda(const StreamView& codes, const TensorView& operand, const TensorView& terms,
                        const TensorView& centre);
void nearest_code_cuda(const StreamView& x, const TensorView& codes, const TensorView& operand,
                       const TensorView& terms, const TensorView& centre,
                       const std::optional<TensorView>& valid, int64_t excluded, const TensorView& indices,
                       const TensorView& doubtful);

// What packed attention is done with, but for the queries.
struct AttentionInput {
  TensorView k, v, cu_seqlens_q, cu_seqlens_k;
  std::optional<TensorView> order;
  int64_t max_seqlen_q, max_seqlen_k;
  bool is_causal;
  double scale, dropout_p;
  std::optional<TensorView> seed;
};
struct AttentionResult {
  TensorView out, lse;
};
struct AttentionGradients {
  TensorView q, k, v, centres;
};

// cuda/attention.cu
void attention_cuda(const StreamView& q, const AttentionInput& in, const AttentionResult& result);
void attention_backward_cuda(const StreamView& grad, const TensorView& q, const AttentionInput& in,
                             const AttentionResult& result, const AttentionGradients& gradients);

// What a counting sort of rows is done with.
struct SortInput {
  TensorView code_of, histogram;
  int64_t num_codes, blocks;
};

// cuda/dictionary_update.cu
void count_rows_cuda(const StreamView& x, const std::optional<TensorView>& valid, const TensorView& indices,
                     const SortInput& in, bool check_finite);
void sum_rows_cuda(const StreamView& x, const SortInput& in, const TensorView& ends, const TensorView& order,
                   const TensorView& partial, const TensorView& out);
void add_rows_cuda(const StreamView& x, const std::optional<TensorView>& valid, const TensorView& indices,
                   int64_t num_codes, bool check_finite, const TensorView& out);
void ema_update_cuda(const StreamView& codes, const TensorView& sums, const TensorView& counts,
                     double momentum);
void laplace_ema_update_cuda(const StreamView& codes, const TensorView& averages,
                             const TensorView& cluster_sizes, const TensorView& sums,
                             const TensorView& counts, double momentum, double eps, const TensorView& total);
#endif

}  // namespace vlp
