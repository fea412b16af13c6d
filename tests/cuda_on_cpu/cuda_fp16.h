// Stands in for CUDA's header of the same name: half precision, exact and rounded to nearest even.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

struct __half {
  uint16_t bits;
};
using half = __half;

inline uint16_t __half_as_ushort(half value) { return value.bits; }
inline half __ushort_as_half(uint16_t bits) { return {bits}; }

inline float half_bits_to_float(int bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return fraction != 0 ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
}

inline const std::vector<float> every_half = [] {
  std::vector<float> found(1 << 16);
  for (int bits = 0; bits < 1 << 16; ++bits) found[bits] = half_bits_to_float(bits);
  return found;
}();

inline float __half2float(half value) { return every_half[value.bits]; }

inline half __float2half_rn(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double size = std::fabs(static_cast<double>(value));
  if (std::isnan(value)) return {0x7fff};
  if (size >= 65520) return {static_cast<uint16_t>(sign | 0x7c00)};
  int exponent;
  std::frexp(size, &exponent);
  exponent = exponent < -13 ? -13 : exponent;  // below, the spacing is that of subnormal numbers
  // The fraction, in units of the last place; 2048 of them carry into the exponent by themselves.
  const int units = static_cast<int>(std::nearbyint(std::ldexp(size, 11 - exponent)));
  const int bits = units < 1024 ? units : ((exponent + 13) << 10) + units;
  return {static_cast<uint16_t>(sign | bits)};
}
