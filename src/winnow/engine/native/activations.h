// Functions of sixteen values at once; polynomials in single precision.
#pragma once
#include "kernels.h"

namespace {

// 2^x for x <= 0: 2^n times a polynomial in the rest, which is at most 1/2; relative error below 2e-7.
inline Float power_of_two(Float x) {
  const Float n = rounded(x), rest = subtract(x, n);
  Float p = splat(0.0013276468962430954f);
  p = multiply_add(p, rest, splat(0.009675540961325169f));
  p = multiply_add(p, rest, splat(0.05550713464617729f));
  p = multiply_add(p, rest, splat(0.24022120237350464f));
  p = multiply_add(p, rest, splat(0.693146944046021f));
  p = multiply_add(p, rest, splat(1.0000001192092896f));
  return times_power_of_two(p, n);
}

// x times the normal distribution function, as x (1/2 + c P(c^2) / Q(c^2)) with c = x clipped to +-5; P and Q were
// fitted to the distribution function by least squares. The absolute error is below 4e-6, about that of float32 for
// large x.
inline Float gelu(Float x) {
  const Float c = maximum(minimum(x, splat(5.0f)), splat(-5.0f)), square = multiply(c, c);
  Float p = multiply_add(square, splat(6.253662286326289e-05f), splat(0.004320438485592604f));
  p = multiply_add(p, square, splat(0.02937895804643631f));
  p = multiply_add(p, square, splat(0.39896613359451294f));
  Float q = multiply_add(square, splat(3.81694917450659e-06f), splat(0.0015058497665449977f));
  q = multiply_add(q, square, splat(0.025722043588757515f));
  q = multiply_add(q, square, splat(0.24049177765846252f));
  q = multiply_add(q, square, splat(1.0f));
  return multiply(x, multiply_add(c, multiply(p, reciprocal(q)), splat(0.5f)));
}

template <winnow::Activation A>
inline Float activated(Float x) {
  if constexpr (A == winnow::Activation::gelu) return gelu(x);
  if constexpr (A == winnow::Activation::relu) return maximum(x, splat(0.0f));
  return x;
}

}  // namespace
