// Matching and assignment of many small problems on the CPU: threads take one problem after the other.
#include <algorithm>
#include <vector>

#include "cpu/prediction_costs.h"
#include "cpu/thread_team.h"
#include "cpu/threads.h"
#include "ops.h"

namespace vlp {
namespace {

// Starting a thread takes as long as reading some thousand costs.
constexpr int64_t kCellsPerThread = 1 << 15;

struct RowMajor {
  const double* values;
  int32_t columns;

  VLP_HOST_DEVICE double operator()(int32_t row, int32_t column) const {
    return values[static_cast<int64_t>(row) * columns + column];
  }
};

// A scan is a few dozen vector operations.
VLP_VECTOR_CLONES bool solve(const double* cost, int32_t rows, int32_t columns, int64_t* keys,
                             Workspace work) {
  return shortest_paths(ThreadTeam{keys}, RowMajor{cost, columns}, rows, columns, work);
}

// Costs of a problem as its solver wants them. Can all be used?
template <typename T>
bool read(const Matrix<T>& source, const Problem& problem, double* costs) {
  const T* first = source.values + problem.layer * source.layer_stride + problem.first * source.row_stride;
  const bool transpose = problem.is_transposed();
  const int64_t outer = transpose ? source.column_stride : source.row_stride;
  const int64_t inner = transpose ? source.row_stride : source.column_stride;
  bool is_good = true;
  for (int64_t i = 0; i < problem.rows(); ++i)
    for (int64_t j = 0; j < problem.columns(); ++j) {
      const T cost = source.sign * first[i * outer + j * inner];
      is_good &= cost > -kFar;
      costs[i * problem.columns() + j] = cost;
    }
  return is_good;
}

// One thread's memory, which grows to the largest problem it meets.
class Solver {
 public:
  template <typename Source>
  Status operator()(const Source& source, const Problems& problems, const Problem& problem) {
    std::fill_n(problems.answer(problem), problem.height, int64_t{kNobody});
    const int32_t rows = problem.rows(), columns = problem.columns();
    reserve(costs_, problem.cells());
    reserve(memory_, Workspace::bytes(rows, columns) / static_cast<int64_t>(sizeof(double)));
    reserve(keys_, columns);
    const bool is_good = read(source, problem, costs_.data());
    if (!is_good && !Source::kMends) return kInvalid;
    const Workspace work = Workspace::in(memory_.data(), rows, columns);
    if (!solve(costs_.data(), rows, columns, keys_.data(), work)) return kInfeasible;
    for (int32_t i = 0; i < rows; ++i) problems.write(problem, i, work.column_of_row[i]);
    return is_good ? kSolved : kMended;
  }

 private:
  template <typename T>
  static void reserve(std::vector<T>& values, int64_t size) {
    values.resize(std::max<size_t>(values.size(), size));
  }

  std::vector<double> costs_, memory_;
  std::vector<int64_t> keys_;
};

// On a CPU the bounds can be read; on a GPU that would be a wait.
void check_bounds(const char* name, const Problems& problems) {
  for (int32_t number = 0; number < problems.count(); ++number) {
    const int32_t layer = number / problems.images, image = number % problems.images;
    const int32_t first = problems.first_row.at(layer, image), last = problems.last_row.at(layer, image);
    if (first < 0 || first > last || last > problems.rows)
      fail(name, "problem " + std::to_string(number) + " has the rows " + std::to_string(first) + " to " +
                     std::to_string(last) + ", expected an ascending range within 0 to " +
                     std::to_string(problems.rows));
  }
}

template <typename Source>
void solve_all(const Source& source, const Problems& problems, int64_t threads) {
  const int64_t cells = static_cast<int64_t>(problems.layers) * problems.rows * problems.columns;
  const int64_t worth = std::min<int64_t>(1 + cells / kCellsPerThread, problems.count());
  Shares shares(problems.count(), 1);
  on_threads(std::min(threads, worth), [&] {
    Solver solver;
    shares.each([&](int64_t number) {
      const auto place = static_cast<int32_t>(number);
      problems.status[place] = solver(source, problems, problems.at(place));
    });
  });
}

}  // namespace

void assign(const TensorView& cost, const std::optional<TensorView>& num_rows, const Answers& answers,
            bool maximize, int64_t threads) {
  const Problems problems = problems_of("assign", cost, num_rows, answers, Device{kCPU, 0});
  check_bounds("assign", problems);
  dispatch_real("assign", "cost", cost,
                [&](auto type) { solve_all(matrix_of(type, cost, maximize), problems, threads); });
}

void match(const MatchInput& in, const TensorView& cu_targets, const Answers& answers, int64_t threads) {
  const Device cpu{kCPU, 0};
  const Problems problems = problems_of("match", in, cu_targets, answers, cpu);
  check_bounds("match", problems);
  dispatch_precision(
      in, [&](auto type) { solve_all(predictions_of(type, "match", in, cpu), problems, threads); });
}

Status assign_one(const Matrix<double>& cost, int64_t rows, int64_t columns, int64_t* column_of_row) {
  if (rows >= Offer::kTaken || columns >= Offer::kTaken) fail("assign_array", "expected sides below 2^30");
  const auto height = static_cast<int32_t>(rows), width = static_cast<int32_t>(columns);
  const Problems problems{
      {nullptr, 0, 0, 0}, {nullptr, 0, 0, height}, 1, 1, height, width, column_of_row, nullptr};
  return Solver()(cost, problems, problems.at(0));
}

}  // namespace vlp
