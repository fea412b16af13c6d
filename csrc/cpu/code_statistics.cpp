// Sums and counts of the rows of each code on the CPU. Rows are sorted by code and added up in segments of a
// fixed length, these in order: the bits are the same however many threads share the segments.
#include <vector>

#include "cpu/float_rows.h"
#include "cpu/threads.h"
#include "cpu/vector_clones.h"
#include "ops.h"

namespace vlp {
namespace {

constexpr int64_t kSegmentRows = 256;

// Adds rows up in float64, but for those that are not finite, and returns how many it added.
VLP_VECTOR_CLONES int64_t add_rows(const FloatRows& x, const int64_t* rows, int64_t count, double* values,
                                   double* sums) {
  int64_t added = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!x.read(rows[i], values)) continue;
    for (int64_t k = 0; k < x.width; ++k) sums[k] += values[k];
    ++added;
  }
  return added;
}

// Stable counting sort: rows by code, and behind them those that are valid and of no code.
struct SortedRows {
  std::vector<int64_t> starts, rows;  // rows of code j: rows[starts[j]] to rows[starts[j + 1]]

  SortedRows(const TensorView& indices, const Flags& is_valid, int64_t num_codes) : starts(num_codes + 2) {
    const int64_t count = indices.size(0), stride = indices.stride(0);
    const int64_t* index = indices.ptr<int64_t>();
    const auto bucket = [&](int64_t row) {
      const int64_t code = index[row * stride];
      return code < 0 ? num_codes : code;
    };
    for (int64_t row = 0; row < count; ++row) {
      if (!is_valid[row]) continue;
      if (bucket(row) > num_codes || index[row * stride] == num_codes)
        fail("code_statistics", "index " + std::to_string(index[row * stride]) + ", expected below " +
                                    std::to_string(num_codes));
      ++starts[bucket(row) + 1];
    }
    for (int64_t code = 0; code <= num_codes; ++code) starts[code + 1] += starts[code];
    rows.resize(starts.back());
    std::vector<int64_t> next = starts;
    for (int64_t row = 0; row < count; ++row)
      if (is_valid[row]) rows[next[bucket(row)]++] = row;
  }
};

// Rows of one code that are added up in one go. A code of one segment has its sums written at once; others
// leave a partial sum each.
struct Segment {
  int64_t code, first, last;
  int64_t partial;  // its number, or -1
  int64_t added;
};

std::vector<Segment> segments_of(const SortedRows& sorted, int64_t num_codes, int64_t& partials) {
  std::vector<Segment> segments;
  partials = 0;
  for (int64_t code = 0; code < num_codes; ++code) {
    const int64_t start = sorted.starts[code], end = sorted.starts[code + 1];
    const bool is_alone = end - start <= kSegmentRows;
    int64_t first = start;
    do {  // also of a code without rows: its sums are written as well
      const int64_t last = std::min(first + kSegmentRows, end);
      segments.push_back({code, first, last, is_alone ? -1 : partials++, 0});
      first = last;
    } while (first < end);
  }
  return segments;
}

class Statistics {
 public:
  Statistics(const FloatRows& x, const SortedRows& sorted, int64_t num_codes, float* buffer)
      : x_(x), sorted_(sorted), num_codes_(num_codes), buffer_(buffer) {
    segments_ = segments_of(sorted, num_codes, partials_);
    partial_sums_.resize(partials_ * x.width);
  }

  void add_up(int64_t threads) {
    Shares shares(static_cast<int64_t>(segments_.size()), 4);
    const auto rows = static_cast<int64_t>(sorted_.rows.size());
    on_threads(worth_starting(threads, (rows + num_codes_) * x_.width), [&] {
      std::vector<double> values(x_.width), sums(x_.width);
      shares.each([&](int64_t number) { add_up(segments_[number], values, sums); });
    });
    for (size_t first = 0; first < segments_.size();) first = combine(first);
  }

  // Rows that were to count, but are not finite.
  int64_t left_out() const {
    int64_t count = sorted_.starts[num_codes_];
    for (const Segment& segment : segments_) count -= segment.added;
    return count;
  }

 private:
  void add_up(Segment& segment, std::vector<double>& values, std::vector<double>& sums) {
    std::fill(sums.begin(), sums.end(), 0);
    segment.added = add_rows(x_, sorted_.rows.data() + segment.first, segment.last - segment.first,
                             values.data(), sums.data());
    if (segment.partial < 0)
      write(segment.code, sums.data(), segment.added);
    else
      std::copy(sums.begin(), sums.end(), partial_sums_.begin() + segment.partial * x_.width);
  }

  // Adds up the partial sums of a code, and returns where the next one's segments begin.
  size_t combine(size_t first) {
    size_t next = first + 1;
    const Segment& start = segments_[first];
    if (start.partial < 0) return next;
    double* sums = partial_sums_.data() + start.partial * x_.width;
    int64_t added = start.added;
    for (; next < segments_.size() && segments_[next].code == start.code; ++next) {
      const double* more = partial_sums_.data() + segments_[next].partial * x_.width;
      for (int64_t k = 0; k < x_.width; ++k) sums[k] += more[k];
      added += segments_[next].added;
    }
    write(start.code, sums, added);
    return next;
  }

  void write(int64_t code, const double* sums, int64_t count) {
    float* out = buffer_ + code * x_.width;
    for (int64_t k = 0; k < x_.width; ++k) out[k] = static_cast<float>(sums[k]);
    buffer_[num_codes_ * x_.width + code] = static_cast<float>(count);
  }

  const FloatRows& x_;
  const SortedRows& sorted_;
  const int64_t num_codes_;
  float* const buffer_;
  int64_t partials_ = 0;
  std::vector<Segment> segments_;
  std::vector<double> partial_sums_;
};

}  // namespace

void code_statistics(const TensorView& x, const TensorView& indices, int64_t num_codes,
                     const std::optional<TensorView>& valid, bool check_finite, const TensorView& buffer,
                     int64_t threads) {
  const char* function = "code_statistics";
  const FloatRows rows = FloatRows::of(function, "x", x);
  check_dtype(function, "indices", indices, kInt64);
  check_device(function, "indices", indices, Device{kCPU, 0});
  check_shape(function, "indices", indices, {x.size(0)});
  const int64_t numbers = num_codes * (rows.width + 1);
  float* const out = whole_floats(function, "buffer", buffer, {numbers + 1});
  const SortedRows sorted(indices, Flags::of(function, "valid", valid, x.size(0)), num_codes);
  Statistics statistics(rows, sorted, num_codes, out);
  statistics.add_up(threads);
  int64_t non_finite = statistics.left_out();
  std::vector<double> values(rows.width);
  for (int64_t i = sorted.starts[num_codes]; i < sorted.starts[num_codes + 1]; ++i)
    non_finite += !check_finite || !rows.read(sorted.rows[i], values.data());
  out[numbers] = static_cast<float>(non_finite);
}

}  // namespace vlp
