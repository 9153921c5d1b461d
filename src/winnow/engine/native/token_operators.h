// Operators from tokens to lanes and back.
#pragma once
#include "lanes.h"

namespace winnow {

// x (batch, tokens, features), mask -> its values in lanes, and its codes.
class Pack {
 public:
  static constexpr const char* kName = "Pack";
  static constexpr ElementType kInputs[] = {kFloat, kFloat}, kOutputs[] = {kFloat, kUint8};

  explicit Pack(const Node& node) : grid_(node.grid("x")), kernels_(kernels_for({grid_})) {}

  void compute(const Call& call) const {
    const Tensor x = call.input(0), mask = call.input(1);
    const Sequences sequences(mask);
    require(x.shape.size() == 3 && x.shape[0] == sequences.batch && x.shape[1] == sequences.tokens &&
                x.shape[2] % kBlock == 0,
            "the tokens to pack must be (batch, tokens, 4 n)");
    const Lanes lanes{sequences.groups(), x.shape[2]};
    const int features = static_cast<int>(lanes.features);
    const float* rows = x.as<float>(kFloat);
    float* values = call.output<float>(0, lanes.values());
    uint8_t* codes = call.output<uint8_t>(1, lanes.codes());
    call.parallel(lanes.groups, [&](size_t group) {
      const size_t at = group * features * kLanes;
      kernels_.to_lanes(rows + sequences.row(group) * features, sequences.count(group), features, values + at);
      kernels_.quantize(values + at, features, grid_, codes + at);
    });
  }

 private:
  Grid grid_;
  const Kernels& kernels_;
};

// Values in lanes, mask -> (batch, tokens, features), zeros where a batch is padded.
class Unpack {
 public:
  static constexpr const char* kName = "Unpack";
  static constexpr ElementType kInputs[] = {kFloat, kFloat}, kOutputs[] = {kFloat};

  explicit Unpack(const Node&) : kernels_(kernels_for({})) {}

  void compute(const Call& call) const {
    const Tensor values = call.input(0), mask = call.input(1);
    const Sequences sequences(mask);
    require(values.shape.size() == 3, "values do not have the shape of their operator");
    const Lanes lanes{sequences.groups(), values.shape[1]};
    const float* from = values_like(values, lanes);
    const int features = static_cast<int>(lanes.features);
    float* rows = call.output<float>(0, {sequences.batch, sequences.tokens, lanes.features});
    std::fill_n(rows, sequences.batch * sequences.tokens * features, 0.0f);
    call.parallel(lanes.groups, [&](size_t group) {
      kernels_.from_lanes(from + group * features * kLanes, sequences.count(group), features,
                          rows + sequences.row(group) * features);
    });
  }

 private:
  const Kernels& kernels_;
};

}  // namespace winnow
