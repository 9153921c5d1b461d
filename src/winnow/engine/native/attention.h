// softmax(query key^T scale + mask) value for one head and a few groups of queries, in integers.
#pragma once
#include "linear.h"

namespace {

inline Int splat_line(const void* four_bytes) {
  int32_t bytes;
  __builtin_memcpy(&bytes, four_bytes, 4);
  return splat(bytes);
}

// Scores of all keys in units of log 2, [keys][G][16], and their maximum for each query. With stored query q, key k and
// zero points z: sum (q - zq)(k - zk) = sum q k - zq sum k + what is the same for all keys, which softmax ignores.
template <int G>
inline void score_keys(const Attention& a, float* scores, Float (&largest)[G]) {
  const Int ones = splat(0x01010101);
  const int zero_q = a.query_grid.zero_point - kActivationOffset;
  const uint8_t* query = a.query + a.query_group * a.group_stride;
#pragma GCC unroll 4
  for (int g = 0; g < G; g++) largest[g] = splat(-__builtin_inff());
  for (int group = 0; group < a.groups; group++) {
    const uint8_t* keys = a.key + group * a.group_stride;
    Int sum = zero();
    for (int d = 0; d < a.head_size * kLanes; d += kLine) sum = dot(sum, ones, load(keys + d));
    int32_t from_key[kLanes];
    store(from_key, multiply(sum, splat(-zero_q)));
    for (int key = 0; key < kLanes; key += 4) {
      Int sums[4][G];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
        for (int g = 0; g < G; g++) sums[i][g] = splat(from_key[key + i]);
      for (int d = 0; d < a.head_size * kLanes; d += kLine) {
        Int lines[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; g++) lines[g] = load(query + g * a.group_stride + d);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
          const Int four = splat_line(keys + d + (key + i) * kBlock);
#pragma GCC unroll 4
          for (int g = 0; g < G; g++) sums[i][g] = dot(sums[i][g], lines[g], four);
        }
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        const int position = group * kLanes + key + i;
#pragma GCC unroll 4
        for (int g = 0; g < G; g++) {
          const Float score = multiply_add(to_float(sums[i][g]), splat(a.scale), splat(a.mask[position]));
          largest[g] = maximum(score, largest[g]);
          store(scores + (static_cast<size_t>(position) * G + g) * kLanes, score);
        }
      }
    }
  }
}

// Scores to codes of probabilities, [keys / 4][G][16][4].
template <int G>
inline void softmax(const Attention& a, float* scores, const Float (&largest)[G], uint8_t* codes) {
  const int keys = a.groups * kLanes;
  Float factor[G];
#pragma GCC unroll 4
  for (int g = 0; g < G; g++) factor[g] = splat(0.0f);
  for (int key = 0; key < keys; key++)
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
      float* score = scores + (static_cast<size_t>(key) * G + g) * kLanes;
      const Float power = power_of_two(subtract(load(score), largest[g]));
      factor[g] = add(factor[g], power);
      store(score, power);
    }
#pragma GCC unroll 4
  for (int g = 0; g < G; g++) factor[g] = divide(splat(1 / a.probability_grid.scale), factor[g]);
  const Int offset = splat(a.probability_grid.zero_point);
  for (int key = 0; key < keys; key += 4)
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
      const auto code = [&](int i) ALWAYS_INLINE {
        return add(to_int(multiply(load(scores + (static_cast<size_t>(key + i) * G + g) * kLanes), factor[g])), offset);
      };
      const Int line =
          stored(interleave(code(0), code(1), code(2), code(3)), a.probability_grid.high, Operand::activation);
      store(codes + (static_cast<size_t>(key / 4) * G + g) * kLine, line);
    }
}

// Codes of probabilities times values, as codes of the context. The zero points are corrected as in `score_keys`.
template <int G>
inline void weigh_values(const Attention& a, const uint8_t* codes) {
  const int keys = a.groups * kLanes;
  const int zero_p = a.probability_grid.zero_point - kActivationOffset, zero_v = a.value_grid.zero_point - 128;
  const Int ones = splat(0x01010101);
  Int from_codes[G];
#pragma GCC unroll 4
  for (int g = 0; g < G; g++) {
    Int sum = zero();
    for (int key = 0; key < keys; key += 4)
      sum = dot(sum, load(codes + (static_cast<size_t>(key / 4) * G + g) * kLine), ones);
    from_codes[g] = add(multiply(sum, splat(-zero_v)), splat(keys * zero_p * zero_v));
  }
  const Quantizer q(a.context_grid);
  const Float scale = splat(a.probability_grid.scale * a.value_grid.scale * q.inverse);
  const Int offset = splat(q.zero_point);
  uint8_t* context = a.context + a.query_group * a.group_stride;
  for (int d = 0; d < a.head_size; d += 4) {
    const int8_t* rows = a.value + static_cast<size_t>(d) * a.groups * kLanes;
    Int sums[4][G];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      int from_values = 0;
      if (zero_p)
        for (int key = 0; key < keys; key++) from_values -= zero_p * rows[i * a.groups * kLanes + key];
#pragma GCC unroll 4
      for (int g = 0; g < G; g++) sums[i][g] = add(from_codes[g], splat(from_values));
    }
    for (int key = 0; key < keys; key += 4) {
      Int lines[G];
#pragma GCC unroll 4
      for (int g = 0; g < G; g++) lines[g] = load(codes + (static_cast<size_t>(key / 4) * G + g) * kLine);
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        const Int four = splat_line(rows + i * a.groups * kLanes + key);
#pragma GCC unroll 4
        for (int g = 0; g < G; g++) sums[i][g] = dot(sums[i][g], lines[g], four);
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
      const auto code = [&](int i) ALWAYS_INLINE { return add(to_int(multiply(to_float(sums[i][g]), scale)), offset); };
      const Int line = stored(interleave(code(0), code(1), code(2), code(3)), q.high, Operand::activation);
      store(context + g * a.group_stride + static_cast<size_t>(d) * kLanes, line);
    }
  }
}

template <int G>
void attend(const Attention& a, void* scratch) {
  float* scores = static_cast<float*>(scratch);
  uint8_t* codes = reinterpret_cast<uint8_t*>(scores + static_cast<size_t>(a.groups) * kLanes * G * kLanes);
  Float largest[G];
  score_keys<G>(a, scores, largest);
  softmax<G>(a, scores, largest, codes);
  weigh_values<G>(a, codes);
}

void attend_of(const Attention& a, void* scratch) { FOR_GROUPS(a.query_groups, (attend<G>(a, scratch))) }

}  // namespace
