// Functions of sixteen values at once; polynomials in single precision.
#pragma once
#include "kernels.h"

namespace {

// e^x for x <= 0: 2^n times a polynomial in the rest, which is at most 1/2; relative error below 6e-6.
inline Float exponential(Float x) {
  const Float binary = multiply(maximum(x, splat(-87.0f)), splat(1.44269504f)), n = rounded(binary);
  const Float rest = subtract(binary, n);
  Float p = splat(0.0013333558f);
  p = multiply_add(p, rest, splat(0.0096181291f));
  p = multiply_add(p, rest, splat(0.0555041087f));
  p = multiply_add(p, rest, splat(0.2402265070f));
  p = multiply_add(p, rest, splat(0.6931471806f));
  return times_power_of_two(multiply_add(p, rest, splat(1.0f)), n);
}

// x times the normal distribution function, as x (1/2 + c P(c^2)) with c = x clipped to +-4.5; P was fitted to the
// distribution function by least squares. The absolute error is below 6e-5.
inline Float gelu(Float x) {
  const Float c = maximum(minimum(x, splat(4.5f)), splat(-4.5f)), square = multiply(c, c);
  Float p = splat(3.036136272949186e-11f);
  p = multiply_add(p, square, splat(-3.31440741518918e-09f));
  p = multiply_add(p, square, splat(1.59090291163011e-07f));
  p = multiply_add(p, square, splat(-4.451541371963685e-06f));
  p = multiply_add(p, square, splat(8.142298611346632e-05f));
  p = multiply_add(p, square, splat(-0.0010375765850767493f));
  p = multiply_add(p, square, splat(0.009585147723555565f));
  p = multiply_add(p, square, splat(-0.06598455458879471f));
  p = multiply_add(p, square, splat(0.39871254563331604f));
  return multiply(x, multiply_add(c, p, splat(0.5f)));
}

template <winnow::Activation A>
inline Float activated(Float x) {
  if constexpr (A == winnow::Activation::gelu) return gelu(x);
  if constexpr (A == winnow::Activation::relu) return maximum(x, splat(0.0f));
  return x;
}

}  // namespace
