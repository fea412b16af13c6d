// Prints what the stand-in for tensor cores says to kernels that misuse fragments, one a line.
#include <cstdio>

#include "cuda/tensor_cores.cuh"

namespace {

alignas(128) uint16_t numbers[2 * 16 * 24];
alignas(128) float sums[16 * 16];

template <typename Kernel>
void report(Kernel&& kernel) {
  try {
    cuda_on_cpu::block.run(64, kernel);
    std::puts("nothing");
  } catch (const std::logic_error& error) {
    std::puts(error.what());
  }
}

void multiply(const uint16_t* rows, bool is_filled, int32_t pitch) {
  vlp::RowFragment row;
  vlp::CodeFragment code;
  vlp::ProductFragment product;
  row.load(rows, pitch);
  code.load(numbers, 24);
  if (is_filled) product.clear();
  product.add(row, code);
  product.store(sums, 16);
}

}  // namespace

int main() {
  report([] { multiply(numbers, true, 24); });
  report([] { multiply(numbers + threadIdx.x % 2 * 16, true, 24); });
  report([] { multiply(numbers + 8, true, 24); });
  report([] { multiply(numbers, true, 20); });
  report([] { multiply(numbers, false, 24); });
  report([] {
    if (threadIdx.x % 32 != 7) multiply(numbers, true, 24);
  });
  report([] {
    vlp::ProductFragment first, second;
    first.clear();
    second.clear();
    (threadIdx.x % 2 == 0 ? first : second).store(sums, 16);
  });
}
