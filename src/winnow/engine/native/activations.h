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

// x times the normal distribution function, as x (1/2 + c P(c^2) / Q(c^2)) with c = x clipped to +-5.25; P and Q were
// fitted to the distribution function by least squares. The absolute error is below 2e-6, on average 2e-7.
inline Float gelu(Float x) {
  const Float c = maximum(minimum(x, splat(5.25f)), splat(-5.25f)), square = multiply(c, c);
  Float p = multiply_add(square, splat(7.78994490246987e-06f), splat(0.00042416350333951414f));
  p = multiply_add(p, square, splat(0.006192799657583237f));
  p = multiply_add(p, square, splat(0.059146612882614136f));
  p = multiply_add(p, square, splat(0.39893972873687744f));
  Float q = multiply_add(square, splat(6.459680435000337e-07f), splat(0.0001543809485156089f));
  q = multiply_add(q, square, splat(0.003315091598778963f));
  q = multiply_add(q, square, splat(0.04304325208067894f));
  q = multiply_add(q, square, splat(0.3148987293243408f));
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
