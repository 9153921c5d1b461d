// Sixteen lanes of 32 bits in two AVX2 registers. Integer products by AVX-VNNI where the compiler may use it, else by
// maddubs, which adds pairs of products in 16 bits: exact for activations of 7 bits. WINNOW_SEVEN_BITS promises those;
// without it the highest bit of an activation is multiplied on its own.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace {

struct Int {
  __m256i a, b;
};
struct Float {
  __m256 a, b;
};

constexpr int kTileGroups = 2;  // groups of 16 tokens that a weight is multiplied with while it is in a register
constexpr int kAttentionGroups = 1;
constexpr int kActivationOffset = 0;  // activations are stored as their codes, 0 to 255

inline __m256i* halves(void* p) { return static_cast<__m256i*>(p); }
inline const __m256i* halves(const void* p) { return static_cast<const __m256i*>(p); }

inline Int zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline Int splat(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline Int load(const void* p) { return {_mm256_loadu_si256(halves(p)), _mm256_loadu_si256(halves(p) + 1)}; }
inline void store(void* p, Int x) {
  _mm256_storeu_si256(halves(p), x.a);
  _mm256_storeu_si256(halves(p) + 1, x.b);
}
inline Int add(Int x, Int y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
inline Int multiply(Int x, Int y) { return {_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)}; }
inline __m256i clamp(__m256i x, int low, int high) {
  return _mm256_min_epi32(_mm256_max_epi32(x, _mm256_set1_epi32(low)), _mm256_set1_epi32(high));
}
inline Int clamp(Int x, int low, int high) { return {clamp(x.a, low, high), clamp(x.b, low, high)}; }

inline __m256i dot(__m256i sum, __m256i activations, __m256i weights) {
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(sum, activations, weights);
#elif defined(WINNOW_SEVEN_BITS)
  const __m256i pairs = _mm256_maddubs_epi16(activations, weights);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#else
  const __m256i low = _mm256_and_si256(activations, _mm256_set1_epi8(127));
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(activations, 7), _mm256_set1_epi8(1));
  const __m256i low_sum = _mm256_madd_epi16(_mm256_maddubs_epi16(low, weights), _mm256_set1_epi16(1));
  const __m256i high_sum = _mm256_madd_epi16(_mm256_maddubs_epi16(high, weights), _mm256_set1_epi16(128));
  return _mm256_add_epi32(sum, _mm256_add_epi32(low_sum, high_sum));
#endif
}
// sum + four products for each lane: bytes of activations times signed bytes of weights.
inline Int dot(Int sum, Int activations, Int weights) {
  return {dot(sum.a, activations.a, weights.a), dot(sum.b, activations.b, weights.b)};
}

inline Float splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Float load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Float x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
inline Float add(Float x, Float y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline Float subtract(Float x, Float y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline Float multiply(Float x, Float y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline Float divide(Float x, Float y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline Float multiply_add(Float x, Float y, Float z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
// 1 / x, nearly to the precision of float by a step of Newton's method
inline __m256 reciprocal(__m256 x) {
  const __m256 first = _mm256_rcp_ps(x);
  return _mm256_mul_ps(first, _mm256_fnmadd_ps(x, first, _mm256_set1_ps(2.0f)));
}
inline Float reciprocal(Float x) { return {reciprocal(x.a), reciprocal(x.b)}; }
inline Float maximum(Float x, Float y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline Float minimum(Float x, Float y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline Float square_root(Float x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
inline Float rounded(Float x) { return {_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)}; }
inline Float to_float(Int x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
// Rounded to the nearest integer. The processor converts what is above all integers to the lowest one, hence the
// minimum.
inline __m256i to_int(__m256 x) { return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(1073741824.0f), x)); }
inline Int to_int(Float x) { return {to_int(x.a), to_int(x.b)}; }
// x 2^n for n <= 0; 2^-126 for what is less.
inline __m256 power_of_two(__m256 n) {
  n = _mm256_max_ps(n, _mm256_set1_ps(-126.0f));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline Float times_power_of_two(Float x, Float n) { return multiply(x, Float{power_of_two(n.a), power_of_two(n.b)}); }

inline __m256i interleave(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i order =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return _mm256_shuffle_epi8(_mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)), order);
}
// Four rows of sixteen integers, saturated to 0..255, as one line: the four bytes of each lane together.
inline Int interleave(Int a, Int b, Int c, Int d) {
  return {interleave(a.a, b.a, c.a, d.a), interleave(a.b, b.b, c.b, d.b)};
}
inline Int minimum_bytes(Int x, Int y) { return {_mm256_min_epu8(x.a, y.a), _mm256_min_epu8(x.b, y.b)}; }
inline Int exclusive_or(Int x, Int y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }

// Sixteen integers in -128..127 as sixteen bytes.
inline void store_bytes(int8_t* p, Int x) {
  const __m256i pairs = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}

}  // namespace
