// Stands in for csrc/cuda/tensor_cores.cuh: fragments of matrices that the lanes of a warp hold together.
//
// Each operation is a meeting of the warp. Which numbers a lane holds is nobody's business: here they are
// scattered. An operation in which lanes disagree about a matrix, or have fragments of different operations,
// is an error, and so are a fragment that was never filled and an address that a GPU could not load from.
// Products are exact, four of them are added at a time, and sums are cut off, as on the first tensor cores.
#pragma once

#include <cmath>

#include "cuda_fp16.h"
#include "cuda_on_cpu.h"

namespace vlp {

constexpr int kFragment = 16;
constexpr int kShare = kFragment * kFragment / cuda_on_cpu::kLanes;  // numbers of a lane

inline int lane() { return cuda_on_cpu::block.current() % cuda_on_cpu::kLanes; }

// Which number of the matrix is a lane's; 97 is odd, so each number has one place.
inline int number_of(int lane, int slot) {
  return (97 * (lane * kShare + slot) + 31) % (kFragment * kFragment);
}

inline void require(bool is_good, const char* problem) {
  if (!is_good) throw std::logic_error(std::string("cuda_on_cpu: ") + problem);
}

// Meets the warp; all lanes must bring the same. Returns the meeting's number, which is the same for all.
inline unsigned agree(const char* collective, uint64_t value) {
  using namespace cuda_on_cpu;
  const unsigned turn = block.meet(cuda_on_cpu::kWarp, collective, value);
  const int first = block.current() / kLanes * kLanes;
  for (int i = first; i < first + kLanes; ++i)
    require(block.value(i, turn) == value, "lanes disagree about a matrix");
  return block.meetings();
}

inline uint64_t matrix(const void* place, int32_t pitch, int32_t bytes) {
  const auto bits = reinterpret_cast<uint64_t>(place);
  require(bits % 32 == 0, "a fragment's matrix begins at no multiple of 32 bytes");
  require(pitch * bytes % 16 == 0, "a fragment's lines are no multiple of 16 bytes apart");
  return bits ^ static_cast<uint64_t>(pitch) << 48;
}

template <typename T>
class Fragment {
 public:
  // Number of the meeting that filled it.
  unsigned made() const {
    require(made_ != 0, "a fragment that was never filled");
    return made_;
  }
  T own(int slot) const { return own_[slot]; }

 protected:
  static int offset(int slot, int32_t pitch) {
    const int number = number_of(lane(), slot);
    return number / kFragment * pitch + number % kFragment;
  }
  T own_[kShare];
  unsigned made_ = 0;
};

struct OperandFragment : Fragment<uint16_t> {
  void load(const uint16_t* place, int32_t pitch) {
    const unsigned meeting = agree("a fragment's load", matrix(place, pitch, sizeof(*place)));
    for (int i = 0; i < kShare; ++i) own_[i] = place[offset(i, pitch)];
    made_ = meeting;
  }
};
struct RowFragment : OperandFragment {};
struct CodeFragment : OperandFragment {
  static constexpr int place(int number) { return number; }  // code * 16 + depth
};
struct ValueFragment : OperandFragment {
  static constexpr int place(int number) { return number % kFragment * kFragment + number / kFragment; }
};

inline float towards_zero(double value) {
  const auto nearest = static_cast<float>(value);
  return std::fabs(nearest) > std::fabs(value) ? std::nextafter(nearest, 0.f) : nearest;
}

class ProductFragment : public Fragment<float> {
 public:
  static constexpr int kShare = vlp::kShare;

  float& operator[](int slot) { return own_[slot]; }
  float operator[](int slot) const { return own_[slot]; }
  void clear() {
    const unsigned meeting = agree("a fragment's clear", 0);
    for (float& own : own_) own = 0;
    made_ = meeting;
  }
  template <typename Other>
  void add(const RowFragment& row, const Other& code) {
    using namespace cuda_on_cpu;
    const Operands<Other> operands{&row, &code, this};
    const unsigned turn = block.meet(cuda_on_cpu::kWarp, "a product", reinterpret_cast<uint64_t>(&operands));
    static float rows[kFragment * kFragment], codes[kFragment * kFragment];
    static uint64_t gathered = 0;  // in which round: the first lane gathers for all
    for (int i = 0; i < kLanes && gathered != block.round(); ++i) {
      const int other = block.current() / kLanes * kLanes + i;
      reinterpret_cast<const Operands<Other>*>(block.value(other, turn))->gather(operands, i, rows, codes);
    }
    gathered = block.round();
    float sums[kShare];
    for (int i = 0; i < kShare; ++i) {
      const int number = number_of(lane(), i);
      sums[i] = sum(own_[i], rows + number / kFragment * kFragment, codes + number % kFragment * kFragment);
    }
    const unsigned meeting = agree("a product's end", 0);  // nobody writes what another one still reads
    std::copy(sums, sums + kShare, own_);
    made_ = meeting;
  }
  void load(const float* place, int32_t pitch) {
    const unsigned meeting = agree("a fragment's load", matrix(place, pitch, sizeof(*place)));
    for (int i = 0; i < kShare; ++i) own_[i] = place[offset(i, pitch)];
    made_ = meeting;
  }
  void store(float* place, int32_t pitch) const {
    agree("a fragment's store", matrix(place, pitch, sizeof(*place)));
    agree("what a fragment's store has", made());
    for (int i = 0; i < kShare; ++i) place[offset(i, pitch)] = own_[i];
  }

 private:
  // A lane's, seen by the others while it waits.
  template <typename Other>
  struct Operands {
    const RowFragment* row;
    const Other* code;
    const ProductFragment* product;

    void gather(const Operands& mine, int lane, float* rows, float* codes) const {
      require(row->made() == mine.row->made() && code->made() == mine.code->made() &&
                  product->made() == mine.product->made(),
              "lanes have fragments of different operations");
      for (int i = 0; i < kShare; ++i) {
        rows[number_of(lane, i)] = __half2float(__ushort_as_half(row->own(i)));
        codes[Other::place(number_of(lane, i))] = __half2float(__ushort_as_half(code->own(i)));
      }
    }
  };
  static float sum(float start, const float* row, const float* code) {
    for (int first = 0; first < kFragment; first += 4) {
      double four = start;
      for (int i = first; i < first + 4; ++i) four += static_cast<double>(row[i]) * code[i];
      start = towards_zero(four);
    }
    return start;
  }
};

}  // namespace vlp
