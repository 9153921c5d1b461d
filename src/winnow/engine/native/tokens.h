// Values of one group of tokens: to lanes and back, quantised, normalised.
#pragma once
#include "linear.h"

namespace {

void quantize(const float* values, int features, Grid grid, uint8_t* codes) {
  const Quantizer q(grid);
  for (int i = 0; i < features; i += 4, values += 4 * kLanes, codes += kLine) {
    const auto code = [&](int row) {
      return to_int(multiply_add(load(values + row * kLanes), splat(q.inverse), splat(q.offset)));
    };
    store(codes, stored(interleave(code(0), code(1), code(2), code(3)), q.high, Operand::activation));
  }
}

// Mean and variance of each token in two passes, then (value - mean) / sqrt(variance + epsilon) * gamma + beta.
void normalize(float* values, int features, const float* gamma, const float* beta, float epsilon, Grid grid,
               uint8_t* codes) {
  Float sum = splat(0.0f), squares = splat(0.0f);
  for (int i = 0; i < features; i++) sum = add(sum, load(values + i * kLanes));
  const Float mean = multiply(sum, splat(1.0f / features));
  for (int i = 0; i < features; i++) {
    const Float centred = subtract(load(values + i * kLanes), mean);
    squares = multiply_add(centred, centred, squares);
  }
  const Float variance = multiply_add(squares, splat(1.0f / features), splat(epsilon));
  const Float factor = divide(splat(1.0f), square_root(variance));
  for (int i = 0; i < features; i++) {
    const Float normal = multiply(subtract(load(values + i * kLanes), mean), factor);
    store(values + i * kLanes, multiply_add(normal, splat(gamma[i]), splat(beta[i])));
  }
  if (codes) quantize(values, features, grid, codes);
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
