#include "runtime.h"

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>

namespace winnow {

Api api(nullptr);

Tensor::Tensor(const OrtValue* value) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  must(api.type_and_shape(value, &info));
  size_t dimensions = 0;
  OrtStatus* status = api.element_type(info, &type);
  if (!status) status = api.dimension_count(info, &dimensions);
  shape.resize(dimensions);
  if (!status) status = api.dimensions(info, shape.data(), dimensions);
  api.release_type_and_shape(info);
  must(status);
  must(api.tensor_data(const_cast<OrtValue*>(value), &data));
}

size_t Tensor::size() const {
  size_t size = 1;
  for (int64_t dimension : shape) size *= static_cast<size_t>(dimension);
  return size;
}

float Node::number(const char* name) const {
  float value = 0;
  must(api.attribute(info_, name, &value));
  return value;
}

int Node::integer(const char* name, int low, int high) const {
  int64_t value = 0;
  must(api.attribute(info_, name, &value));
  require(value >= low && value <= high, std::string("the attribute ") + name + " is out of range");
  return static_cast<int>(value);
}

Grid Node::grid(const std::string& prefix) const {
  const Grid grid{number((prefix + "_scale").c_str()), integer((prefix + "_zero_point").c_str(), 0, 255),
                  integer((prefix + "_high").c_str(), 1, 255)};
  require(grid.scale > 0 && grid.scale < std::numeric_limits<float>::infinity(), "a scale is not a positive number");
  return grid;
}

Tensor Node::constant(size_t input) const {
  const OrtValue* value = nullptr;
  int is_constant = 0;
  must(api.constant_input(info_, input, &is_constant, &value));
  require(is_constant && value, "a weight is not a constant of the graph");
  return Tensor(value);
}

PackedMatrix Node::matrix(size_t input, const char* rows, const char* columns, Grid grid,
                          const Kernels& kernels) const {
  const Tensor blocks = constant(input), present = constant(input + 1), scales = constant(input + 2),
               bias = constant(input + 3);
  constexpr int largest = std::numeric_limits<int>::max();
  const StoredMatrix stored{integer(rows, 1, largest),   integer(columns, 1, largest),
                            blocks.as<int8_t>(kInt8),    blocks.size(),
                            present.as<uint8_t>(kUint8), present.size(),
                            scales.as<float>(kFloat),    scales.size(),
                            bias.as<int32_t>(kInt32),    bias.size()};
  return PackedMatrix(stored, grid, kernels.activation_offset);
}

Tensor Call::input(size_t index) const {
  const OrtValue* value = nullptr;
  must(api.input(context_, index, &value));
  require(value != nullptr, "an input is missing");
  return Tensor(value);
}

bool Call::has_output(size_t index) const {
  size_t count = 0;
  must(api.output_count(context_, &count));
  return index < count;
}

void* Call::output_data(size_t index, const std::vector<int64_t>& shape) const {
  OrtValue* value = nullptr;
  must(api.output(context_, index, shape.data(), shape.size(), &value));
  void* data = nullptr;
  must(api.tensor_data(value, &data));
  return data;
}

namespace {

struct Piece {
  void* memory = nullptr;
  size_t bytes = 0;
  ~Piece() { std::free(memory); }
};

}  // namespace

void* Scratch::of_thread(int slot, size_t bytes) {
  thread_local Piece pieces[4];
  Piece& piece = pieces[slot];
  if (piece.bytes < bytes) {
    std::free(piece.memory);
    piece.bytes = 0;
    piece.memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!piece.memory) throw std::bad_alloc();
    piece.bytes = bytes;
  }
  return piece.memory;
}

}  // namespace winnow
