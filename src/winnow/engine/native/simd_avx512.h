// Sixteen lanes of 32 bits in one AVX-512 register; integer products by VNNI.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace {

using Int = __m512i;
using Float = __m512;

constexpr int kTileGroups = 4;  // groups of 16 tokens that a weight is multiplied with while it is in a register
constexpr int kAttentionGroups = 3;
constexpr int kActivationOffset = 0;  // activations are stored as their codes, 0 to 255

inline Int zero() { return _mm512_setzero_si512(); }
inline Int splat(int32_t x) { return _mm512_set1_epi32(x); }
inline Int load(const void* p) { return _mm512_loadu_si512(p); }
inline void store(void* p, Int x) { _mm512_storeu_si512(p, x); }
inline Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
inline Int multiply(Int a, Int b) { return _mm512_mullo_epi32(a, b); }
inline Int clamp(Int x, int low, int high) { return _mm512_min_epi32(_mm512_max_epi32(x, splat(low)), splat(high)); }

// sum + four products for each lane: bytes of activations times signed bytes of weights.
inline Int dot(Int sum, Int activations, Int weights) { return _mm512_dpbusd_epi32(sum, activations, weights); }

inline Float splat(float x) { return _mm512_set1_ps(x); }
inline Float load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Float x) { _mm512_storeu_ps(p, x); }
inline Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
inline Float subtract(Float a, Float b) { return _mm512_sub_ps(a, b); }
inline Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
inline Float divide(Float a, Float b) { return _mm512_div_ps(a, b); }
inline Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
// 1 / x, to the precision of float by a step of Newton's method
inline Float reciprocal(Float x) {
  const Float first = _mm512_rcp14_ps(x);
  return multiply(first, _mm512_fnmadd_ps(x, first, splat(2.0f)));
}
inline Float maximum(Float a, Float b) { return _mm512_max_ps(a, b); }
inline Float minimum(Float a, Float b) { return _mm512_min_ps(a, b); }
inline Float square_root(Float x) { return _mm512_sqrt_ps(x); }
inline Float rounded(Float x) { return _mm512_roundscale_ps(x, 0); }
// x 2^n
inline Float times_power_of_two(Float x, Float n) { return _mm512_scalef_ps(x, n); }
inline Float to_float(Int x) { return _mm512_cvtepi32_ps(x); }
// Rounded to the nearest integer. The processor converts what is above all integers to the lowest one, hence the
// minimum.
inline Int to_int(Float x) { return _mm512_cvtps_epi32(_mm512_min_ps(splat(1073741824.0f), x)); }

// Four rows of sixteen integers, saturated to 0..255, as one line: the four bytes of each lane together.
inline Int interleave(Int a, Int b, Int c, Int d) {
  const Int order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return _mm512_shuffle_epi8(_mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)), order);
}
inline Int minimum_bytes(Int x, Int y) { return _mm512_min_epu8(x, y); }
inline Int exclusive_or(Int x, Int y) { return _mm512_xor_si512(x, y); }

// Sixteen integers in -128..127 as sixteen bytes.
inline void store_bytes(int8_t* p, Int x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x)); }

}  // namespace
