// Operators of linear layers, with what follows them.
#pragma once
#include "lanes.h"

namespace winnow {

// x (..., columns) -> (..., rows): a linear layer on its own, whose neighbours are other operators of the runtime.
class Linear {
 public:
  static constexpr const char* kName = "Linear";
  static constexpr ElementType kInputs[] = {kFloat, kInt8, kUint8, kFloat, kInt32}, kOutputs[] = {kFloat};

  explicit Linear(const Node& node)
      : grid_(node.grid("x")),
        kernels_(kernels_for({grid_})),
        matrix_(node.matrix(1, "rows", "columns", grid_, kernels_)) {}

  void compute(const Call& call) const {
    const Tensor x = call.input(0);
    const Matrix matrix = matrix_.view();
    const int columns = matrix_.columns(), rows = matrix_.rows();
    require(!x.shape.empty() && x.shape.back() == columns,
            "the input does not have as many features as the weight has columns");
    std::vector<int64_t> shape = x.shape;
    shape.back() = rows;
    const float* from = x.as<float>(kFloat);
    float* to = call.output<float>(0, shape);
    const int64_t tokens = x.size() / columns;
    const size_t groups = (tokens + kLanes - 1) / kLanes;
    uint8_t* codes = Scratch::of_thread<uint8_t>(1, groups * columns * kLanes);
    float* values = Scratch::of_thread<float>(2, groups * matrix.rows * kLanes);
    const auto here = [&](size_t group) {
      return static_cast<int>(std::min<int64_t>(kLanes, tokens - group * kLanes));
    };
    call.parallel(groups, [&](size_t group) {
      float* lanes = Scratch::of_thread<float>(3, columns * kLanes);
      kernels_.to_lanes(from + group * kLanes * columns, here(group), columns, lanes);
      kernels_.quantize(lanes, columns, grid_, codes + group * columns * kLanes);
    });
    for_tiles(call, kernels_, matrix, groups, [&](size_t first, int count, Rows part, int32_t* partial) {
      const Tile tile{codes + first * columns * kLanes, count};
      kernels_.linear_values(matrix, tile, part, nullptr, values + first * matrix.rows * kLanes, partial);
    });
    call.parallel(groups, [&](size_t group) {
      const float* lanes = values + group * matrix.rows * kLanes;
      kernels_.from_lanes(lanes, here(group), rows, to + group * kLanes * rows);
    });
  }

 private:
  Grid grid_;
  const Kernels& kernels_;
  PackedMatrix matrix_;
};

// Codes -> codes of activation(linear(x)).
class LinearActivation {
 public:
  static constexpr const char* kName = "LinearActivation";
  static constexpr ElementType kInputs[] = {kUint8, kInt8, kUint8, kFloat, kInt32}, kOutputs[] = {kUint8};

  explicit LinearActivation(const Node& node)
      : grid_(node.grid("x")),
        out_(node.grid("y")),
        activation_(static_cast<Activation>(node.integer("activation", 0, 2))),
        kernels_(kernels_for({grid_})),
        matrix_(node.matrix(1, "rows", "columns", grid_, kernels_)) {
    require(matrix_.rows() % kBlock == 0, "the rows of a weight are not a multiple of 4");
  }

  void compute(const Call& call) const {
    const Tensor x = call.input(0);
    const Matrix matrix = matrix_.view();
    Lanes lanes = lanes_of_codes(x, matrix.columns);
    const uint8_t* from = x.as<uint8_t>(kUint8);
    lanes.features = matrix.rows;
    uint8_t* to = call.output<uint8_t>(0, lanes.codes());
    for_tiles(call, kernels_, matrix, lanes.groups, [&](size_t first, int count, Rows rows, int32_t* partial) {
      const Tile tile{from + first * matrix.columns * kLanes, count};
      kernels_.linear_codes(matrix, tile, rows, activation_, out_, Operand::activation,
                            to + first * matrix.rows * kLanes, partial);
    });
  }

 private:
  Grid grid_, out_;
  Activation activation_;
  const Kernels& kernels_;
  PackedMatrix matrix_;
};

// Codes, values of the residual connection -> values of norm(linear(x) + residual), and their codes.
class LinearNorm {
 public:
  static constexpr const char* kName = "LinearNorm";
  static constexpr ElementType kInputs[] = {kUint8, kInt8, kUint8, kFloat, kInt32, kFloat, kFloat, kFloat},
                               kOutputs[] = {kFloat, kUint8};

  explicit LinearNorm(const Node& node)
      : grid_(node.grid("x")),
        out_(node.grid("y")),
        epsilon_(node.number("epsilon")),
        kernels_(kernels_for({grid_})),
        matrix_(node.matrix(1, "rows", "columns", grid_, kernels_)),
        gamma_(vector_of(node.constant(6), matrix_.rows())),
        beta_(vector_of(node.constant(7), matrix_.rows())) {
    require(matrix_.rows() % kBlock == 0, "the rows of a weight are not a multiple of 4");
  }

  void compute(const Call& call) const {
    const Tensor x = call.input(0), residual = call.input(5);
    const Matrix matrix = matrix_.view();
    Lanes lanes = lanes_of_codes(x, matrix.columns);
    const uint8_t* from = x.as<uint8_t>(kUint8);
    lanes.features = matrix.rows;
    const float* added = values_like(residual, lanes);
    float* values = call.output<float>(0, lanes.values());
    uint8_t* codes = call.output<uint8_t>(1, lanes.codes());
    for_tiles(call, kernels_, matrix, lanes.groups, [&](size_t first, int count, Rows rows, int32_t* partial) {
      const size_t at = first * matrix.rows * kLanes;
      const Tile tile{from + first * matrix.columns * kLanes, count};
      kernels_.linear_values(matrix, tile, rows, added + at, values + at, partial);
    });
    call.parallel(lanes.groups, [&](size_t group) {
      const size_t at = group * matrix.rows * kLanes;
      kernels_.normalize(values + at, matrix.rows, gamma_.data(), beta_.data(), epsilon_, out_, codes + at);
    });
  }

 private:
  Grid grid_, out_;
  float epsilon_;
  const Kernels& kernels_;
  PackedMatrix matrix_;
  std::vector<float> gamma_, beta_;
};

}  // namespace winnow
