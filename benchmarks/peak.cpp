// The most integer multiply-accumulates that a core can do: its dot instruction on sums that stay in registers, enough of
// them to hide its latency.
#if defined(__AVX512VNNI__)
#include <immintrin.h>
using Register = __m512i;
inline Register dot(Register sum, Register a, Register b) { return _mm512_dpbusd_epi32(sum, a, b); }
#elif defined(__AVXVNNI__)
#include <immintrin.h>
using Register = __m256i;
inline Register dot(Register sum, Register a, Register b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
using Register = int32x4_t;
inline Register dot(Register sum, Register a, Register b) {
  return vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b));
}
#else
#error this processor has no dot instruction
#endif

constexpr int kSums = 12;

Register factors[2], results[kSums];  // visible outside, so that the compiler cannot know them, nor that sums are equal

// Returns the number of multiply-accumulates.
extern "C" long multiply(long repetitions) {
  Register sums[kSums];
  for (int j = 0; j < kSums; j++) sums[j] = results[j];
  const Register a = factors[0], b = factors[1];
  for (long i = 0; i < repetitions; i++) {
#pragma GCC unroll 12
    for (int j = 0; j < kSums; j++) sums[j] = dot(sums[j], a, b);
  }
  for (int j = 0; j < kSums; j++) results[j] = sums[j];
  return repetitions * kSums * static_cast<long>(sizeof(Register));  // one for each byte
}
