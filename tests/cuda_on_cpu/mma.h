// Stands in for CUDA's header of the same name: fragments of matrices that the lanes of a warp hold together.
//
// Each operation is a meeting of the warp. Which elements a lane holds is nobody's business: here they are
// scattered. An operation in which lanes disagree about a matrix, or have a fragment of different operations,
// is an error, and so is a fragment that was never filled or an address that a GPU could not load from.
// Products are exact, four of them are added at a time, and sums are cut off, as on the first tensor cores.
#pragma once

#include <cmath>
#include <limits>

#include "cuda_fp16.h"
#include "cuda_on_cpu.h"

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

constexpr int kSide = 16, kShare = kSide * kSide / cuda_on_cpu::kLanes;

inline float number(float value) { return value; }
inline float number(half value) { return __half2float(value); }

// Which number of the matrix is a lane's; 97 is odd, so each number has one place.
inline int element(int lane, int slot) { return (97 * (lane * kShare + slot) + 31) % (kSide * kSide); }

inline int lane() { return cuda_on_cpu::block.current() % cuda_on_cpu::kLanes; }

inline void require(bool is_good, const char* problem) {
  if (!is_good) throw std::logic_error(std::string("cuda_on_cpu: ") + problem);
}

// Meets the warp; all lanes must bring the same. Returns the meeting's number, which is the same for all.
inline unsigned agree(const char* collective, uint64_t value) {
  using namespace cuda_on_cpu;
  const unsigned turn = block.meet(kWarp, collective, value);
  const int first = block.current() / kLanes * kLanes;
  for (int i = first; i < first + kLanes; ++i)
    require(block.value(i, turn) == value, "lanes disagree about a matrix");
  return block.meetings();
}

template <typename Use, int kRows, int kColumns, int kDepth, typename T, typename Layout = void>
class fragment {
  static_assert(kRows == kSide && kColumns == kSide && kDepth == kSide, "no other shape is modelled");

 public:
  void fill(T value) {
    const unsigned meeting = agree("fill_fragment", cuda_on_cpu::pack(value));
    for (T& own : own_) own = value;
    made_ = meeting;
  }
  void load(const T* place, unsigned pitch, bool is_row_major) {
    const unsigned meeting = agree("load_matrix_sync", address(place, pitch));
    for (int i = 0; i < kShare; ++i) own_[i] = place[offset(element(lane(), i), pitch, is_row_major)];
    made_ = meeting;
  }
  void store(T* place, unsigned pitch, bool is_row_major) const {
    agree("store_matrix_sync", address(place, pitch));
    agree("store_matrix_sync of", made());
    for (int i = 0; i < kShare; ++i) place[offset(element(lane(), i), pitch, is_row_major)] = own_[i];
  }
  unsigned made() const {
    require(made_ != 0, "a fragment that was never filled");
    return made_;
  }
  T own(int slot) const { return own_[slot]; }
  void set(const T (&values)[kShare], unsigned meeting) {
    for (int i = 0; i < kShare; ++i) own_[i] = values[i];
    made_ = meeting;
  }

 private:
  static int offset(int number, unsigned pitch, bool is_row_major) {
    const int row = number / kSide, column = number % kSide;
    return is_row_major ? row * pitch + column : column * pitch + row;
  }
  static uint64_t address(const T* place, unsigned pitch) {
    const auto bits = reinterpret_cast<uint64_t>(place);
    require(bits % 32 == 0, "a fragment's matrix begins at no multiple of 32 bytes");
    require(pitch * sizeof(T) % 16 == 0, "a fragment's pitch is no multiple of 16 bytes");
    return bits ^ static_cast<uint64_t>(pitch) << 48;
  }

  T own_[kShare];
  unsigned made_ = 0;  // number of the meeting that filled it
};

template <typename Fragment, typename T>
void fill_fragment(Fragment& out, T value) {
  out.fill(value);
}
template <typename Use, typename T, typename Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& out, const T* place, unsigned pitch) {
  out.load(place, pitch, std::is_same_v<Layout, row_major>);
}
template <typename T>
void store_matrix_sync(T* place, const fragment<accumulator, 16, 16, 16, T>& in, unsigned pitch,
                       layout_t layout) {
  in.store(place, pitch, layout == mem_row_major);
}

inline float towards_zero(double value) {
  const auto nearest = static_cast<float>(value);
  return std::fabs(nearest) > std::fabs(value) ? std::nextafter(nearest, 0.f) : nearest;
}

// All lanes' operands, seen while they wait.
template <typename A, typename B, typename C>
struct Operands {
  const A* a;
  const B* b;
  const C* c;
};

template <typename LayoutA, typename LayoutB>
void mma_sync(fragment<accumulator, 16, 16, 16, float>& out,
              const fragment<matrix_a, 16, 16, 16, half, LayoutA>& a,
              const fragment<matrix_b, 16, 16, 16, half, LayoutB>& b,
              const fragment<accumulator, 16, 16, 16, float>& c) {
  using namespace cuda_on_cpu;
  using Own = Operands<std::decay_t<decltype(a)>, std::decay_t<decltype(b)>, std::decay_t<decltype(c)>>;
  const Own own{&a, &b, &c};
  const unsigned turn = block.meet(kWarp, "mma_sync", reinterpret_cast<uint64_t>(&own));
  float left[kSide * kSide], right[kSide * kSide], sums[kShare];
  for (int i = 0; i < kLanes; ++i) {
    const auto* other =
        reinterpret_cast<const Own*>(block.value(block.current() / kLanes * kLanes + i, turn));
    require(other->a->made() == a.made() && other->b->made() == b.made() && other->c->made() == c.made(),
            "lanes have fragments of different operations");
    for (int slot = 0; slot < kShare; ++slot) {
      left[element(i, slot)] = number(other->a->own(slot));
      right[element(i, slot)] = number(other->b->own(slot));
    }
  }
  for (int slot = 0; slot < kShare; ++slot) {
    const int row = element(lane(), slot) / kSide, column = element(lane(), slot) % kSide;
    sums[slot] = c.own(slot);
    for (int k = 0; k < kSide; k += 4) {
      double sum = sums[slot];
      for (int i = k; i < k + 4; ++i)
        sum += static_cast<double>(left[row * kSide + i]) * right[i * kSide + column];
      sums[slot] = towards_zero(sum);
    }
  }
  const unsigned meeting = agree("mma_sync, done", 0);  // nobody writes what another one still reads
  out.set(sums, meeting);
}

}  // namespace nvcuda::wmma
