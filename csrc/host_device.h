// Code for either side: what follows compiles as C++ and as CUDA, the latter under nvcc and under NVRTC.
#pragma once

#ifndef __CUDACC_RTC__  // which has these functions, but no headers
#include <cmath>
#include <cstdint>
#include <cstring>
#define VLP_INFINITY __builtin_huge_val()
#define VLP_NAN __builtin_nanf("")
#else
using int8_t = signed char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
#define INT32_MAX 0x7fffffff
#define UINT32_MAX 0xffffffffu
#define INT64_MAX 0x7fffffffffffffffll
#define VLP_INFINITY __builtin_bit_cast(double, 0x7ff0000000000000ull)
#define VLP_NAN __builtin_bit_cast(float, 0x7fc00000u)
#endif

#ifdef __CUDACC__
#define VLP_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define VLP_HOST_DEVICE inline __attribute__((always_inline))
#endif

namespace vlp {

constexpr double kInfinity = VLP_INFINITY;
constexpr float kNaN = VLP_NAN;

// The functions of the argument's own precision: C's are named by it, C++'s are not there for NVRTC.
VLP_HOST_DEVICE float exponential(float x) { return expf(x); }
VLP_HOST_DEVICE double exponential(double x) { return exp(x); }
VLP_HOST_DEVICE float logarithm(float x) { return logf(x); }
VLP_HOST_DEVICE double logarithm(double x) { return log(x); }
VLP_HOST_DEVICE float power(float x, float y) { return powf(x, y); }
VLP_HOST_DEVICE double power(double x, double y) { return pow(x, y); }

// Memory that nobody writes while a kernel runs: such reads may overtake writes.
template <typename T>
VLP_HOST_DEVICE T read_only(const T* place) {
#ifdef __CUDA_ARCH__
  return __ldg(place);
#else
  return *place;
#endif
}

template <typename T>
VLP_HOST_DEVICE T smaller(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
VLP_HOST_DEVICE T larger(T a, T b) {
  return a < b ? b : a;
}
template <typename T>
VLP_HOST_DEVICE T magnitude(T x) {
  return x < 0 ? -x : x;
}
template <typename T>
VLP_HOST_DEVICE bool is_finite(T x) {
  return x - x == 0;
}

}  // namespace vlp
