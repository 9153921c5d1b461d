// Sparse matrix products of a tile, and what follows each sum while it is in a register.
#pragma once
#include "activations.h"
#include "kernels.h"

namespace {

using namespace winnow;

#define ALWAYS_INLINE __attribute__((always_inline))

// Adds the blocks of one row to the sums of the groups of a tile. Two sets of sums hide the latency of `dot`.
template <int G>
ALWAYS_INLINE inline void add_blocks(Int (&sums)[G], const uint8_t* const (&lines)[G], const int32_t* blocks,
                                     const uint16_t* offsets, int count) {
  Int others[G];
#pragma GCC unroll 4
  for (int g = 0; g < G; g++) others[g] = zero();
  for (int i = 0; i < count; i += 2) {
    const size_t first = size_t{offsets[i]} * 8, second = size_t{offsets[i + 1]} * 8;
    const Int block = splat(blocks[i]), next = splat(blocks[i + 1]);
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) sums[g] = dot(sums[g], load(lines[g] + first), block);
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) others[g] = dot(others[g], load(lines[g] + second), next);
  }
#pragma GCC unroll 4
  for (int g = 0; g < G; g++) sums[g] = add(sums[g], others[g]);
}

// Calls finish(row, sums) for every four rows, with their integer sums.
template <int G, class Finish>
ALWAYS_INLINE inline void multiply_rows(const Matrix& m, const uint8_t* codes, Rows rows, int32_t* partial,
                                        Finish&& finish) {
  const int chunks = (m.columns + kChunk - 1) / kChunk;
  for (int chunk = 0; chunk < chunks; chunk++) {
    const int32_t* starts = m.starts + static_cast<size_t>(chunk) * (m.rows + 1);
    const uint8_t* lines[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; g++)
      lines[g] = codes + (static_cast<size_t>(g) * m.columns + static_cast<size_t>(chunk) * kChunk) * kLanes;
    for (int row = rows.first; row < rows.last; row += 4) {
      Int sums[4][G];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        int32_t* stored = partial + static_cast<size_t>(row - rows.first + i) * G * kLanes;
        Int row_sums[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; g++) row_sums[g] = chunk ? load(stored + g * kLanes) : splat(m.bias[row + i]);
        const int first = starts[row + i];
        add_blocks<G>(row_sums, lines, m.blocks + first, m.offsets + first, starts[row + i + 1] - first);
        if (chunk + 1 < chunks) {
#pragma GCC unroll 4
          for (int g = 0; g < G; g++) store(stored + g * kLanes, row_sums[g]);
        } else {
#pragma GCC unroll 4
          for (int g = 0; g < G; g++) sums[i][g] = row_sums[g];
        }
      }
      if (chunk + 1 == chunks) finish(row, sums);
    }
  }
}

// A grid as factors: code = round(value * inverse) + zero_point. The zero point is added as an integer: before rounding
// it would take the last bits of the value.
struct Quantizer {
  float inverse;
  int zero_point, high;
  explicit Quantizer(Grid grid) : inverse(1 / grid.scale), zero_point(grid.zero_point), high(grid.high) {}
};

inline Int stored(Int codes, int high, Operand operand) {
  const int flip = operand == Operand::weight || kActivationOffset ? 0x80808080 : 0;
  return exclusive_or(minimum_bytes(codes, splat(static_cast<int32_t>(high * 0x01010101u))), splat(flip));
}

template <int G, Activation A>
void linear_codes(const Matrix& m, const uint8_t* codes, Rows rows, Grid grid, Operand operand, uint8_t* out,
                  int32_t* partial) {
  const Quantizer q(grid);
  multiply_rows<G>(m, codes, rows, partial, [&](int row, const Int(&sums)[4][G]) ALWAYS_INLINE {
    Float scales[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
      scales[i] = splat(A == Activation::none ? m.scales[row + i] * q.inverse : m.scales[row + i]);
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) {
      const auto code = [&](int i) ALWAYS_INLINE {
        const Float sum = to_float(sums[i][g]);
        const Int offset = splat(q.zero_point);
        if (A == Activation::none) return add(to_int(multiply(sum, scales[i])), offset);
        return add(to_int(multiply(activated<A>(multiply(sum, scales[i])), splat(q.inverse))), offset);
      };
      const Int line = stored(interleave(code(0), code(1), code(2), code(3)), q.high, operand);
      store(out + (static_cast<size_t>(g) * m.rows + row) * kLanes, line);
    }
  });
}

template <int G>
void linear_bytes(const Matrix& m, const uint8_t* codes, Rows rows, Grid grid, int8_t* const* bytes,
                  const size_t* strides, int32_t* partial) {
  const Quantizer q(grid);
  multiply_rows<G>(m, codes, rows, partial, [&](int row, const Int(&sums)[4][G]) ALWAYS_INLINE {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const Float scale = splat(m.scales[row + i] * q.inverse);
#pragma GCC unroll 4
      for (int g = 0; g < G; g++) {
        const Int code = clamp(to_int(multiply(to_float(sums[i][g]), scale)), -q.zero_point, q.high - q.zero_point);
        store_bytes(bytes[g] + (row + i) * strides[g], add(code, splat(q.zero_point - 128)));
      }
    }
  });
}

template <int G>
void linear_values(const Matrix& m, const uint8_t* codes, Rows rows, const float* residual, float* values,
                   int32_t* partial) {
  multiply_rows<G>(m, codes, rows, partial, [&](int row, const Int(&sums)[4][G]) ALWAYS_INLINE {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const Float scale = splat(m.scales[row + i]);
#pragma GCC unroll 4
      for (int g = 0; g < G; g++) {
        const size_t at = (static_cast<size_t>(g) * m.rows + row + i) * kLanes;
        const Float added = residual ? load(residual + at) : splat(0.0f);
        store(values + at, multiply_add(to_float(sums[i][g]), scale, added));
      }
    }
  });
}

// Calls f<G>() with the number of groups as a constant.
#define FOR_GROUPS(groups, call)        \
  switch (groups) {                     \
    case 1: {                           \
      constexpr int G = 1;              \
      call;                             \
      break;                            \
    }                                   \
    case 2:                             \
      if constexpr (kTileGroups >= 2) { \
        constexpr int G = 2;            \
        call;                           \
      }                                 \
      break;                            \
    case 3:                             \
      if constexpr (kTileGroups >= 3) { \
        constexpr int G = 3;            \
        call;                           \
      }                                 \
      break;                            \
    case 4:                             \
      if constexpr (kTileGroups >= 4) { \
        constexpr int G = 4;            \
        call;                           \
      }                                 \
      break;                            \
  }

void linear_codes_of(const Matrix& m, Tile tile, Rows rows, Activation activation, Grid grid, Operand operand,
                     uint8_t* codes, int32_t* partial) {
  switch (activation) {
    case Activation::none:
      FOR_GROUPS(tile.groups, (linear_codes<G, Activation::none>(m, tile.codes, rows, grid, operand, codes, partial)))
      break;
    case Activation::gelu:
      FOR_GROUPS(tile.groups, (linear_codes<G, Activation::gelu>(m, tile.codes, rows, grid, operand, codes, partial)))
      break;
    case Activation::relu:
      FOR_GROUPS(tile.groups, (linear_codes<G, Activation::relu>(m, tile.codes, rows, grid, operand, codes, partial)))
      break;
  }
}

void linear_bytes_of(const Matrix& m, Tile tile, Rows rows, Grid grid, int8_t* const* bytes, const size_t* strides,
                     int32_t* partial) {
  FOR_GROUPS(tile.groups, (linear_bytes<G>(m, tile.codes, rows, grid, bytes, strides, partial)))
}

void linear_values_of(const Matrix& m, Tile tile, Rows rows, const float* residual, float* values, int32_t* partial) {
  FOR_GROUPS(tile.groups, (linear_values<G>(m, tile.codes, rows, residual, values, partial)))
}

}  // namespace
