// Compares the kernels of every instruction set that this processor has with plain loops, and prints what differs.
// It is linked with the kernels themselves, so that it needs neither Python nor ONNX Runtime: emulators run it too.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "cpu.h"
#include "packed_matrix.h"

using namespace winnow;

namespace {

std::mt19937 random_bits(1);
int failures = 0;
constexpr float kLog2OfE = 1.44269504f;

int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_bits); }
float normal(float scale) { return std::normal_distribution<float>(0, scale)(random_bits); }

void expect(bool holds, const Kernels& kernels, const char* what, double found, double expected) {
  if (holds || ++failures > 20) return;
  std::printf("%s: %s is %.9g, not %.9g\n", kernels.name, what, found, expected);
}

// The code of a value whose error is at most this many codes.
void expect_code(int found, double value, Grid grid, double error, const Kernels& kernels, const char* what) {
  const double exact = value / grid.scale + grid.zero_point;
  const auto code = [&](double x) { return std::fmin(grid.high, std::fmax(0, std::nearbyint(x))); };
  expect(found >= code(exact - error) && found <= code(exact + error), kernels, what, found, exact);
}

// A random layer and the codes of its input, as kernels take them.
struct Layer {
  int rows, columns, groups;
  Grid grid;
  std::vector<int8_t> weight;
  std::vector<int32_t> bias;
  std::vector<float> scales;
  std::vector<uint8_t> input;  // codes, [groups * 16][columns]
  std::vector<uint8_t> codes;  // in lanes
  PackedMatrix matrix;

  Layer(const Kernels& kernels, bool seven_bits, int rows, int columns, int groups, bool extreme)
      : rows(rows),
        columns(columns),
        groups(groups),
        grid(random_grid(seven_bits)),
        weight(rows * columns, 0),
        input(groups * kLanes * columns),
        codes(input.size()),
        matrix(packed(kernels.activation_offset, extreme)) {
    for (auto& code : input) code = extreme ? grid.high : between(0, grid.high);
    for (int token = 0; token < groups * kLanes; token++)
      for (int i = 0; i < columns; i++) codes[place(token, i, columns)] = stored(kernels, input[token * columns + i]);
  }

  static Grid random_grid(bool seven_bits) {
    const int zeros[] = {0, 1, 128, 255};
    return {0.5f, zeros[between(0, 3)], seven_bits ? 127 : between(0, 3) ? 255 : between(128, 255)};
  }
  static size_t place(int token, int feature, int features) {
    return static_cast<size_t>(token / kLanes) * features * kLanes + feature / kBlock * kLine +
           token % kLanes * kBlock + feature % kBlock;
  }
  static uint8_t stored(const Kernels& kernels, int code) {
    return static_cast<uint8_t>(code - kernels.activation_offset);
  }
  static int restored(const Kernels& kernels, uint8_t byte) {
    return kernels.activation_offset ? static_cast<int8_t>(byte) + 128 : byte;
  }

  PackedMatrix packed(int activation_offset, bool extreme) {
    const int places = columns / kBlock, density = between(0, 10);
    std::vector<int8_t> blocks;
    std::vector<uint8_t> present((static_cast<size_t>(rows) * places + 7) / 8, 0);
    for (int row = 0; row < rows; row++)
      for (int place = 0; place < places; place++) {
        if (between(0, 9) >= density) continue;
        const size_t bit = static_cast<size_t>(row) * places + place;
        present[bit / 8] |= 1 << (bit % 8);
        for (int i = 0; i < kBlock; i++) {
          const int8_t number = extreme ? (row % 2 ? 127 : -128) : between(-128, 127);
          weight[static_cast<size_t>(row) * columns + place * kBlock + i] = number;
          blocks.push_back(number);
        }
      }
    for (int row = 0; row < rows; row++) {
      bias.push_back(between(-100000, 100000));
      scales.push_back(row % 3 ? 0.25f : 0.5f);
    }
    return PackedMatrix({rows, columns, blocks.data(), blocks.size(), present.data(), present.size(), scales.data(),
                         scales.size(), bias.data(), bias.size()},
                        grid, activation_offset);
  }

  int64_t sum(int token, int row) const {
    int64_t sum = bias[row];
    for (int i = 0; i < columns; i++)
      sum += (input[static_cast<size_t>(token) * columns + i] - grid.zero_point) *
             weight[static_cast<size_t>(row) * columns + i];
    return sum;
  }
  double value(int token, int row) const { return static_cast<double>(sum(token, row)) * scales[row] * grid.scale; }
};

double exact_activation(Activation activation, double x) {
  if (activation == Activation::gelu) return x * 0.5 * (1 + std::erf(x / std::sqrt(2)));
  return activation == Activation::relu ? std::fmax(0, x) : x;
}

void check_linear(const Kernels& kernels, bool seven_bits, int rows, int columns, int groups, bool extreme) {
  const Layer layer(kernels, seven_bits, rows, columns, groups, extreme);
  const Matrix matrix = layer.matrix.view();
  const Tile tile{layer.codes.data(), groups};
  const Rows all{0, rows};
  const size_t size = static_cast<size_t>(groups) * rows * kLanes;
  std::vector<int32_t> partial(partial_sums(rows));

  std::vector<float> values(size), residual(size);
  for (auto& number : residual) number = static_cast<float>(between(-4, 4));
  kernels.linear_values(matrix, tile, all, nullptr, values.data(), partial.data());
  for (int token = 0; token < groups * kLanes; token++)
    for (int row = 0; row < rows; row++) {
      const float found = values[(static_cast<size_t>(token / kLanes) * rows + row) * kLanes + token % kLanes];
      const float expected =
          static_cast<float>(layer.sum(token, row)) * layer.scales[row] * layer.grid.scale;  // powers of two
      expect(found == expected, kernels, "a value", found, expected);
    }
  const std::vector<float> before = values;
  kernels.linear_values(matrix, tile, all, residual.data(), values.data(), partial.data());
  for (size_t i = 0; i < size; i++)
    expect(std::fabs(values[i] - (before[i] + residual[i])) <= 1e-6 * std::fabs(values[i]) + 1e-6, kernels,
           "a value with residual", values[i], before[i] + residual[i]);

  double largest = 1;
  for (int row = 0; row < rows; row++) largest = std::fmax(largest, std::fabs(layer.value(0, row)));
  // values of -4 to 4, where activations differ
  const float shrink = static_cast<float>(4 / largest);
  std::vector<float> scales(matrix.scales, matrix.scales + rows);
  for (auto& each : scales) each *= shrink;
  Matrix small = matrix;
  small.scales = scales.data();
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
    const Grid out{0.039f, between(0, 255), between(100, 255)};
    for (const Operand operand : {Operand::activation, Operand::weight}) {
      std::vector<uint8_t> codes(size);
      kernels.linear_codes(small, tile, all, activation, out, operand, codes.data(), partial.data());
      for (int token = 0; token < groups * kLanes; token++)
        for (int row = 0; row < rows; row++) {
          const uint8_t byte = codes[Layer::place(token, row, rows)];
          const int found =
              operand == Operand::weight ? static_cast<int8_t>(byte) + 128 : Layer::restored(kernels, byte);
          const double value = layer.value(token, row) * shrink;
          const double error = activation == Activation::gelu ? 4e-6 / out.scale : 0;
          expect_code(found, exact_activation(activation, value), out,
                      1e-3 + error + 5e-7 * std::fabs(value) / out.scale, kernels, "a code");
        }
    }
  }

  const Grid out{static_cast<float>(largest * 0.0097), between(0, 255), between(100, 255)};
  const size_t stride = static_cast<size_t>(groups) * kLanes + 16;
  std::vector<int8_t> bytes(stride * rows);
  int8_t* places[kMostTileGroups];
  size_t strides[kMostTileGroups];
  for (int g = 0; g < groups; g++) places[g] = bytes.data() + g * kLanes, strides[g] = stride;
  kernels.linear_bytes(matrix, tile, all, out, places, strides, partial.data());
  for (int token = 0; token < groups * kLanes; token++)
    for (int row = 0; row < rows; row++)
      expect_code(bytes[row * stride + token] + 128, layer.value(token, row), out,
                  1e-3 + 2e-7 * std::fabs(layer.value(token, row)) / out.scale, kernels, "a byte");
}

void check_tokens(const Kernels& kernels, int features, int tokens) {
  std::vector<float> rows(static_cast<size_t>(tokens) * features), values(static_cast<size_t>(features) * kLanes, 7),
      back(rows.size());
  for (auto& number : rows) number = normal(3);
  kernels.to_lanes(rows.data(), tokens, features, values.data());
  for (int lane = 0; lane < kLanes; lane++)
    for (int i = 0; i < features; i++) {
      const float expected = lane < tokens ? rows[static_cast<size_t>(lane) * features + i] : 0;
      expect(values[i * kLanes + lane] == expected, kernels, "a lane", values[i * kLanes + lane], expected);
    }
  kernels.from_lanes(values.data(), tokens, features, back.data());
  for (size_t i = 0; i < rows.size(); i++)
    expect(back[i] == rows[i], kernels, "a value back from lanes", back[i], rows[i]);

  values[0] = 1e20f, values[1] = -1e20f, values[2] = INFINITY, values[3] = -INFINITY;
  const Grid grid{0.037f, between(0, 255), between(1, 255)};
  std::vector<uint8_t> codes(values.size());
  const auto check_codes = [&](double error) {
    for (int lane = 0; lane < kLanes; lane++)
      for (int i = 0; i < features; i++)
        expect_code(Layer::restored(kernels, codes[Layer::place(lane, i, features)]), values[i * kLanes + lane], grid,
                    error, kernels, "a quantised value");
  };
  kernels.quantize(values.data(), features, grid, codes.data());
  check_codes(1e-3);

  for (auto& number : values) number = normal(2) + 0.5f;
  const std::vector<float> before = values;
  std::vector<float> gamma(features), beta(features);
  for (int i = 0; i < features; i++) gamma[i] = 1 + normal(0.3f), beta[i] = normal(0.3f);
  kernels.normalize(values.data(), features, gamma.data(), beta.data(), 1e-5f, grid, codes.data());
  for (int lane = 0; lane < kLanes; lane++) {
    double mean = 0, variance = 0;
    for (int i = 0; i < features; i++) mean += static_cast<double>(before[i * kLanes + lane]) / features;
    for (int i = 0; i < features; i++) variance += std::pow(before[i * kLanes + lane] - mean, 2) / features;
    for (int i = 0; i < features; i++) {
      const double expected = (before[i * kLanes + lane] - mean) / std::sqrt(variance + 1e-5) * gamma[i] + beta[i];
      expect(std::fabs(values[i * kLanes + lane] - expected) < 1e-5 * (1 + std::fabs(expected)), kernels,
             "a normalised value", values[i * kLanes + lane], expected);
    }
  }
  check_codes(1e-3);
}

void check_attention(const Kernels& kernels, bool seven_bits, int head_size, int groups, int tokens) {
  const int high = seven_bits ? 127 : 255, all = groups * kLanes;
  const Grid query{0.02f, between(0, high), high}, key{0.03f, between(0, high), high},
      value{0.05f, between(0, high), high};
  const Grid probability{1.003f / high, between(0, 1) * 5, high}, context{0.011f, between(0, 255), between(100, 255)};
  const float scale = (between(0, 1) ? 0.3f : 10.0f) / std::sqrt(static_cast<float>(head_size));
  std::vector<int> q(all * head_size), k(q.size()), v(q.size());
  for (auto* codes : {&q, &k, &v})
    for (auto& code : *codes) code = between(0, high);
  std::vector<uint8_t> stored_q(q.size()), stored_k(q.size()), found(q.size());
  std::vector<int8_t> stored_v(q.size());
  std::vector<float> mask(all, -INFINITY), stored_mask(all, -4e30f);
  for (int i = 0; i < tokens; i++)
    mask[i] = between(0, 3) || i == tokens - 1 ? normal(0.5f) : -1e30f, stored_mask[i] = mask[i] * kLog2OfE;
  for (int token = 0; token < all; token++)
    for (int i = 0; i < head_size; i++) {
      const size_t at = static_cast<size_t>(token) * head_size + i;
      stored_q[Layer::place(token, i, head_size)] = Layer::stored(kernels, q[at]);
      stored_k[Layer::place(token, i, head_size)] = static_cast<uint8_t>(k[at] - 128);
      stored_v[static_cast<size_t>(i) * all + token] = static_cast<int8_t>(v[at] - 128);
    }
  std::vector<char> scratch(attention_scratch(groups) + 64);
  char* aligned = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
  for (int first = 0; first < groups;) {
    const int count = std::min(between(1, kernels.attention_groups), groups - first);
    const Attention attention{head_size,
                              groups,
                              first,
                              count,
                              static_cast<size_t>(head_size) * kLanes,
                              stored_q.data(),
                              stored_k.data(),
                              stored_v.data(),
                              stored_mask.data(),
                              scale * query.scale * key.scale * kLog2OfE,
                              query,
                              key,
                              probability,
                              value,
                              context,
                              found.data()};
    kernels.attend(attention, aligned);
    first += count;
  }
  for (int token = 0; token < all; token++) {
    std::vector<double> power(all);
    double largest = -INFINITY, sum = 0;
    for (int other = 0; other < all; other++) {
      int64_t product = 0;
      for (int i = 0; i < head_size; i++)
        product += (q[token * head_size + i] - query.zero_point) * (k[other * head_size + i] - key.zero_point);
      power[other] = static_cast<double>(product) * scale * query.scale * key.scale + mask[other];
      largest = std::fmax(largest, power[other]);
    }
    for (auto& each : power) sum += each = std::exp(each - largest);
    std::vector<int64_t> code(all);
    double doubtful = 0;  // codes that may be the neighbour
    for (int other = 0; other < all; other++) {
      const double exact = power[other] / sum / probability.scale + probability.zero_point;
      code[other] = static_cast<int64_t>(std::fmin(high, std::nearbyint(exact))) - probability.zero_point;
      doubtful += std::fabs(exact - std::floor(exact) - 0.5) < 2e-3;
    }
    for (int i = 0; i < head_size; i++) {
      int64_t weighted = 0;
      for (int other = 0; other < all; other++) weighted += code[other] * (v[other * head_size + i] - value.zero_point);
      const double error = 2e-3 + doubtful * 255 * probability.scale * value.scale / context.scale;
      expect_code(Layer::restored(kernels, found[Layer::place(token, i, head_size)]),
                  weighted * static_cast<double>(probability.scale) * value.scale, context, error, kernels,
                  "a code of the context");
    }
  }
}

void check(const Kernels& kernels, bool seven_bits) {
  for (const int columns : {4, 12, 64, 768, 772, 1544})
    for (int groups = 1; groups <= kernels.tile_groups; groups++)
      for (const bool extreme : {false, true})
        check_linear(kernels, seven_bits, 4 * between(1, 5), columns, groups, extreme);
  for (const int features : {4, 8, 60, 384})
    for (const int tokens : {1, 5, 16}) check_tokens(kernels, features, tokens);
  for (int groups = 1; groups <= 6; groups++)
    for (const int head_size : {4, 32, 64})
      check_attention(kernels, seven_bits, head_size, groups, groups * kLanes - between(0, 15));
}

}  // namespace

int main() {
  int checked = 0;
  for (const char* name : {"avx512_vnni", "avx_vnni", "avx2", "neon_dotprod"}) {
    setenv("WINNOW_SPARSE_ISA", name, 1);
    if (!kernels()) continue;
    check(*kernels(), false);
    check(*seven_bit_kernels(), true);
    std::printf("checked %s\n", name);
    checked++;
  }
  std::printf("%d differences\n", failures);
  return failures || !checked;
}
