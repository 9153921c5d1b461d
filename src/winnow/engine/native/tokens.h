// Values of one group of tokens: to lanes and back, quantised, normalised.
#pragma once
#include "linear.h"

namespace {

// Divides as QuantizeLinear of the runtime does: a product with the inverse would round ties, such as one of the first
// token of every text, the other way.
void quantize(const float* values, int features, Grid grid, uint8_t* codes) {
  const Float scale = splat(grid.scale), offset = splat(static_cast<float>(grid.zero_point));
  for (int i = 0; i < features; i += 4, values += 4 * kLanes, codes += kLine) {
    const auto code = [&](int row) { return to_int(add(rounded(divide(load(values + row * kLanes), scale)), offset)); };
    store(codes, stored(interleave(code(0), code(1), code(2), code(3)), grid.high, Operand::activation));
  }
}

// The sum of f(row) over the features; four sums hide the latency of an addition.
template <class Function>
ALWAYS_INLINE inline Float sum_rows(int features, Function&& f) {
  Float sums[4] = {f(0), f(1), f(2), f(3)};
  for (int i = 4; i < features; i += 4)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) sums[j] = add(sums[j], f(i + j));
  return add(add(sums[0], sums[1]), add(sums[2], sums[3]));
}

// Mean and variance of each token in two passes, then (value - mean) / sqrt(variance + epsilon) * gamma + beta.
void normalize(float* values, int features, const float* gamma, const float* beta, float epsilon, Grid grid,
               uint8_t* codes) {
  const Float part = splat(1.0f / features);
  const Float mean = multiply(sum_rows(features, [&](int i) { return load(values + i * kLanes); }), part);
  const Float squares = sum_rows(features, [&](int i) {
    const Float centred = subtract(load(values + i * kLanes), mean);
    return multiply(centred, centred);
  });
  const Float factor = divide(splat(1.0f), square_root(multiply_add(squares, part, splat(epsilon))));
  const Quantizer q(grid);
  for (int row = 0; row < features; row += 4) {
    Int code[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      float* value = values + (row + i) * kLanes;
      const Float normal = multiply(subtract(load(value), mean), factor);
      const Float result = multiply_add(normal, splat(gamma[row + i]), splat(beta[row + i]));
      store(value, result);
      code[i] = add(to_int(multiply(result, splat(q.inverse))), splat(q.zero_point));
    }
    const Int line = interleave(code[0], code[1], code[2], code[3]);
    store(codes + row * kLanes, stored(line, q.high, Operand::activation));
  }
}

void to_lanes(const float* rows, int tokens, int features, float* values) {
  for (int i = 0; i < features; i++)
    for (int lane = 0; lane < kLanes; lane++)
      values[i * kLanes + lane] = lane < tokens ? rows[static_cast<size_t>(lane) * features + i] : 0.0f;
}

void from_lanes(const float* values, int tokens, int features, float* rows) {
  for (int lane = 0; lane < tokens; lane++)
    for (int i = 0; i < features; i++) rows[static_cast<size_t>(lane) * features + i] = values[i * kLanes + lane];
}

}  // namespace
