// Sixteen lanes of 32 bits in four NEON registers; integer products by sdot, which takes signed bytes on both sides.
#pragma once
#include <arm_neon.h>

#include <cstdint>

namespace {

struct Int {
  int32x4_t v[4];
};
struct Float {
  float32x4_t v[4];
};

constexpr int kTileGroups = 1;  // groups of 16 tokens that a weight is multiplied with while it is in a register
constexpr int kAttentionGroups = 1;
constexpr int kActivationOffset = 128;  // activations are stored as code - 128

template <class Result, class Function>
inline Result each(Function&& f) {
  return {f(0), f(1), f(2), f(3)};
}

inline Int splat(int32_t x) {
  return each<Int>([&](int) { return vdupq_n_s32(x); });
}
inline Int zero() { return splat(int32_t{0}); }
inline Int load(const void* p) {
  return each<Int>([&](int i) { return vld1q_s32(static_cast<const int32_t*>(p) + 4 * i); });
}
inline void store(void* p, Int x) {
  for (int i = 0; i < 4; i++) vst1q_s32(static_cast<int32_t*>(p) + 4 * i, x.v[i]);
}
inline Int add(Int a, Int b) {
  return each<Int>([&](int i) { return vaddq_s32(a.v[i], b.v[i]); });
}
inline Int multiply(Int a, Int b) {
  return each<Int>([&](int i) { return vmulq_s32(a.v[i], b.v[i]); });
}
inline Int clamp(Int x, int low, int high) {
  return each<Int>([&](int i) { return vminq_s32(vmaxq_s32(x.v[i], vdupq_n_s32(low)), vdupq_n_s32(high)); });
}

// sum + four products for each lane: bytes of activations times signed bytes of weights.
inline Int dot(Int sum, Int activations, Int weights) {
  return each<Int>([&](int i) {
    return vdotq_s32(sum.v[i], vreinterpretq_s8_s32(activations.v[i]), vreinterpretq_s8_s32(weights.v[i]));
  });
}

inline Float splat(float x) {
  return each<Float>([&](int) { return vdupq_n_f32(x); });
}
inline Float load(const float* p) {
  return each<Float>([&](int i) { return vld1q_f32(p + 4 * i); });
}
inline void store(float* p, Float x) {
  for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.v[i]);
}
inline Float add(Float a, Float b) {
  return each<Float>([&](int i) { return vaddq_f32(a.v[i], b.v[i]); });
}
inline Float subtract(Float a, Float b) {
  return each<Float>([&](int i) { return vsubq_f32(a.v[i], b.v[i]); });
}
inline Float multiply(Float a, Float b) {
  return each<Float>([&](int i) { return vmulq_f32(a.v[i], b.v[i]); });
}
inline Float divide(Float a, Float b) {
  return each<Float>([&](int i) { return vdivq_f32(a.v[i], b.v[i]); });
}
inline Float multiply_add(Float a, Float b, Float c) {
  return each<Float>([&](int i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
}
inline Float reciprocal(Float x) { return divide(splat(1.0f), x); }
inline Float maximum(Float a, Float b) {
  return each<Float>([&](int i) { return vmaxq_f32(a.v[i], b.v[i]); });
}
inline Float minimum(Float a, Float b) {
  return each<Float>([&](int i) { return vminq_f32(a.v[i], b.v[i]); });
}
inline Float square_root(Float x) {
  return each<Float>([&](int i) { return vsqrtq_f32(x.v[i]); });
}
inline Float rounded(Float x) {
  return each<Float>([&](int i) { return vrndnq_f32(x.v[i]); });
}
inline Float to_float(Int x) {
  return each<Float>([&](int i) { return vcvtq_f32_s32(x.v[i]); });
}
// Rounds to the nearest integer; what is larger than an integer becomes the largest one.
inline Int to_int(Float x) {
  return each<Int>([&](int i) { return vminq_s32(vcvtnq_s32_f32(x.v[i]), vdupq_n_s32(1 << 30)); });
}
// x 2^n for n <= 0; 2^-126 for what is less.
inline Float times_power_of_two(Float x, Float n) {
  return each<Float>([&](int i) {
    const int32x4_t whole = vmaxq_s32(vcvtnq_s32_f32(n.v[i]), vdupq_n_s32(-126));
    const int32x4_t exponent = vshlq_n_s32(vaddq_s32(whole, vdupq_n_s32(127)), 23);
    return vmulq_f32(x.v[i], vreinterpretq_f32_s32(exponent));
  });
}

// Four rows of sixteen integers, saturated to 0..255, as one line: the four bytes of each lane together.
inline Int interleave(Int a, Int b, Int c, Int d) {
  return each<Int>([&](int i) {
    const int32x4_t low = vdupq_n_s32(0), high = vdupq_n_s32(255);
    const auto byte = [&](const Int& x, int shift) {
      return vshlq_s32(vminq_s32(vmaxq_s32(x.v[i], low), high), vdupq_n_s32(shift));
    };
    return vorrq_s32(vorrq_s32(byte(a, 0), byte(b, 8)), vorrq_s32(byte(c, 16), byte(d, 24)));
  });
}
inline Int minimum_bytes(Int x, Int y) {
  return each<Int>([&](int i) {
    return vreinterpretq_s32_u8(vminq_u8(vreinterpretq_u8_s32(x.v[i]), vreinterpretq_u8_s32(y.v[i])));
  });
}
inline Int exclusive_or(Int x, Int y) {
  return each<Int>([&](int i) { return veorq_s32(x.v[i], y.v[i]); });
}

// Sixteen integers in -128..127 as sixteen bytes.
inline void store_bytes(int8_t* p, Int x) {
  const int16x8_t first = vcombine_s16(vmovn_s32(x.v[0]), vmovn_s32(x.v[1]));
  const int16x8_t second = vcombine_s16(vmovn_s32(x.v[2]), vmovn_s32(x.v[3]));
  vst1q_s8(p, vcombine_s8(vmovn_s16(first), vmovn_s16(second)));
}

}  // namespace
