// Functions of sixteen values at once; polynomials in single precision.
#pragma once
#include "kernels.h"

namespace {

// 2^x for x <= 0: 2^n times a polynomial in the rest, which is at most 1/2; relative error below 4e-6.
inline Float power_of_two(Float x) {
  const Float n = rounded(x), rest = subtract(x, n);
  Float p = splat(0.009570098482072353f);
  p = multiply_add(p, rest, splat(0.05591785907745361f));
  p = multiply_add(p, rest, splat(0.240247443318367f));
  p = multiply_add(p, rest, splat(0.6931217908859253f));
  p = multiply_add(p, rest, splat(0.9999992847442627f));
  return times_power_of_two(p, n);
}

// x times the normal distribution function, as x (1/2 + c P(c^2)) with c = x clipped to +-4; P was fitted to the
// distribution function by least squares. The absolute error is below 2e-4, a hundredth of a step of 8 bits.
inline Float gelu(Float x) {
  const Float c = maximum(minimum(x, splat(4.0f)), splat(-4.0f)), square = multiply(c, c);
  Float p = splat(2.2781382114089865e-08f);
  p = multiply_add(p, square, splat(-1.5985989421096747e-06f));
  p = multiply_add(p, square, splat(4.795544009539299e-05f));
  p = multiply_add(p, square, splat(-0.0008140145801007748f));
  p = multiply_add(p, square, splat(0.008772383444011211f));
  p = multiply_add(p, square, splat(-0.06457309424877167f));
  p = multiply_add(p, square, splat(0.3978833258152008f));
  return multiply(x, multiply_add(c, p, splat(0.5f)));
}

template <winnow::Activation A>
inline Float activated(Float x) {
  if constexpr (A == winnow::Activation::gelu) return gelu(x);
  if constexpr (A == winnow::Activation::relu) return maximum(x, splat(0.0f));
  return x;
}

}  // namespace
