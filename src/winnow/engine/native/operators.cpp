// The operators of the domain "winnow", which work on tokens in lanes (kernels.h), and their registration.
//
// Tensors in lanes have the shape (batch, groups, features, 16) as values, float, and (batch, groups, features / 4, 64)
// as codes, uint8. The groups of a sequence hold its tokens and, in the last one, lanes without a token.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "cpu.h"
#include "runtime.h"

namespace winnow {
namespace {

constexpr int kWorkPieces = 8;    // into which a small product is cut, for the threads of a session
constexpr int kFewestRows = 64;   // of one piece

const Kernels& kernels_for(std::initializer_list<Grid> grids) {
  const bool seven_bits = std::all_of(grids.begin(), grids.end(), [](Grid grid) { return grid.high <= 127; });
  const Kernels* found = seven_bits ? seven_bit_kernels() : kernels();
  require(found != nullptr, missing_kernels());
  return *found;
}

// Groups of tokens of all sequences, cut into tiles of nearly equal size.
struct Tiles {
  int groups, count;
  Tiles(size_t groups, int largest) : groups(static_cast<int>(groups)), count((this->groups + largest - 1) / largest) {}
  int first(size_t tile) const { return static_cast<int>(tile * groups / count); }
  int size(size_t tile) const { return first(tile + 1) - first(tile); }
};

// Calls f(first group, number of groups, rows, partial sums) for each tile and a part of the rows.
template <class Function>
void for_tiles(const Call& call, const Kernels& kernels, const Matrix& matrix, size_t groups, Function&& f) {
  const Tiles tiles(groups, kernels.tile_groups);
  if (!tiles.count) return;
  const int parts = std::clamp(kWorkPieces / tiles.count, 1, std::max(1, matrix.rows / kFewestRows));
  const int fours = matrix.rows / 4;
  call.parallel(static_cast<size_t>(tiles.count) * parts, [&](size_t i) {
    const size_t tile = i / parts, part = i % parts;
    const Rows rows{static_cast<int>(fours * part / parts * 4), static_cast<int>(fours * (part + 1) / parts * 4)};
    int32_t* partial = Scratch::of_thread<int32_t>(0, partial_sums(rows.last - rows.first));
    f(tiles.first(tile), tiles.size(tile), rows, partial);
  });
}

struct Lanes {
  int64_t batch, groups, features;
  size_t all_groups() const { return static_cast<size_t>(batch * groups); }
  std::vector<int64_t> values() const { return {batch, groups, features, kLanes}; }
  std::vector<int64_t> codes() const { return {batch, groups, features / kBlock, kLine}; }
};

Lanes lanes_of_codes(const Tensor& codes, int features) {
  const auto& s = codes.shape;
  require(s.size() == 4 && s[2] == features / kBlock && s[3] == kLine, "codes do not have the shape of their operator");
  return {s[0], s[1], features};
}

const float* values_like(const Tensor& values, const Lanes& lanes) {
  require(values.shape == lanes.values(), "values do not have the shape of their operator");
  return values.as<float>(kFloat);
}

std::vector<float> vector_of(const Tensor& tensor, int size) {
  require(tensor.size() == static_cast<size_t>(size), "a vector does not have as many numbers as a matrix has rows");
  const float* data = tensor.as<float>(kFloat);
  return {data, data + size};
}

// x (batch, tokens, features) -> its values in lanes, and its codes.
class Pack {
 public:
  static constexpr const char* kName = "Pack";
  static constexpr ElementType kInputs[] = {kFloat}, kOutputs[] = {kFloat, kUint8};

  explicit Pack(const Node& node) : grid_(node.grid("x")), kernels_(kernels_for({grid_})) {}

  void compute(const Call& call) const {
    const Tensor x = call.input(0);
    require(x.shape.size() == 3 && x.shape[2] % kBlock == 0, "the tokens to pack must be (batch, tokens, 4 n)");
    const int64_t tokens = x.shape[1], groups = (tokens + kLanes - 1) / kLanes;
    const Lanes lanes{x.shape[0], groups, x.shape[2]};
    const int features = static_cast<int>(lanes.features);
    const float* rows = x.as<float>(kFloat);
    float* values = call.output<float>(0, lanes.values());
    uint8_t* codes = call.output<uint8_t>(1, lanes.codes());
    call.parallel(lanes.all_groups(), [&](size_t i) {
      const int64_t sequence = i / groups, first = i % groups * kLanes;
      const size_t at = i * features * kLanes;
      const int here = static_cast<int>(std::min<int64_t>(kLanes, tokens - first));
      kernels_.to_lanes(rows + (sequence * tokens + first) * features, here, features, values + at);
      kernels_.quantize(values + at, features, grid_, codes + at);
    });
  }

 private:
  Grid grid_;
  const Kernels& kernels_;
};

// Values in lanes, and any (batch, tokens, ...) -> (batch, tokens, features).
class Unpack {
 public:
  static constexpr const char* kName = "Unpack";
  static constexpr ElementType kInputs[] = {kFloat, kFloat}, kOutputs[] = {kFloat};

  explicit Unpack(const Node&) : kernels_(kernels_for({})) {}

  void compute(const Call& call) const {
    const Tensor values = call.input(0), like = call.input(1);
    require(values.shape.size() == 4 && like.shape.size() >= 2, "an input of Unpack has too few dimensions");
    const int64_t tokens = like.shape[1], groups = (tokens + kLanes - 1) / kLanes;
    const Lanes lanes{like.shape[0], groups, values.shape[2]};
    const float* from = values_like(values, lanes);
    const int features = static_cast<int>(lanes.features);
    float* rows = call.output<float>(0, {lanes.batch, tokens, lanes.features});
    call.parallel(lanes.all_groups(), [&](size_t i) {
      const int64_t sequence = i / groups, first = i % groups * kLanes;
      const int here = static_cast<int>(std::min<int64_t>(kLanes, tokens - first));
      kernels_.from_lanes(from + i * features * kLanes, here, features, rows + (sequence * tokens + first) * features);
    });
  }

 private:
  const Kernels& kernels_;
};

// x (..., columns) -> (..., rows): a linear layer on its own, whose neighbours are other operators of the runtime.
class Linear {
 public:
  static constexpr const char* kName = "Linear";
  static constexpr ElementType kInputs[] = {kFloat, kInt8, kUint8, kFloat, kInt32}, kOutputs[] = {kFloat};

  explicit Linear(const Node& node)
      : grid_(node.grid("x")), kernels_(kernels_for({grid_})), matrix_(node.matrix(1, "rows", "columns", grid_, kernels_)) {}

  void compute(const Call& call) const {
    const Tensor x = call.input(0);
    const Matrix matrix = matrix_.view();
    const int columns = matrix_.columns(), rows = matrix_.rows();
    require(!x.shape.empty() && x.shape.back() == columns, "the input does not have as many features as the weight has columns");
    std::vector<int64_t> shape = x.shape;
    shape.back() = rows;
    const float* from = x.as<float>(kFloat);
    float* to = call.output<float>(0, shape);
    const int64_t tokens = x.size() / columns;
    const size_t groups = (tokens + kLanes - 1) / kLanes;
    uint8_t* codes = Scratch::of_thread<uint8_t>(1, groups * columns * kLanes);
    float* values = Scratch::of_thread<float>(2, groups * matrix.rows * kLanes);
    const auto here = [&](size_t group) { return static_cast<int>(std::min<int64_t>(kLanes, tokens - group * kLanes)); };
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
    for_tiles(call, kernels_, matrix, lanes.all_groups(), [&](size_t first, int count, Rows rows, int32_t* partial) {
      const Tile tile{from + first * matrix.columns * kLanes, count};
      kernels_.linear_codes(matrix, tile, rows, activation_, out_, Operand::activation, to + first * matrix.rows * kLanes, partial);
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
    for_tiles(call, kernels_, matrix, lanes.all_groups(), [&](size_t first, int count, Rows rows, int32_t* partial) {
      const size_t at = first * matrix.rows * kLanes;
      const Tile tile{from + first * matrix.columns * kLanes, count};
      kernels_.linear_values(matrix, tile, rows, added + at, values + at, partial);
    });
    call.parallel(lanes.all_groups(), [&](size_t group) {
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

// Codes, mask (batch, 1, 1, tokens) -> codes of the context of self-attention, with the weights of query, key and value.
class SelfAttention {
 public:
  static constexpr const char* kName = "SelfAttention";
  static constexpr ElementType kInputs[] = {kUint8, kFloat,  kInt8, kUint8, kFloat, kInt32, kInt8,
                                            kUint8, kFloat,  kInt32, kInt8, kUint8, kFloat, kInt32},
                               kOutputs[] = {kUint8};

  explicit SelfAttention(const Node& node)
      : grid_(node.grid("x")),
        query_grid_(node.grid("query")),
        key_grid_(node.grid("key")),
        probability_grid_(node.grid("probabilities")),
        value_grid_(node.grid("value")),
        context_grid_(node.grid("y")),
        scale_(node.number("scale") * query_grid_.scale * key_grid_.scale),
        head_size_(node.integer("head_size", 4, 1 << 16)),
        kernels_(kernels_for({grid_, query_grid_, probability_grid_})),
        query_(node.matrix(2, "rows", "columns", grid_, kernels_)),
        key_(node.matrix(6, "rows", "columns", grid_, kernels_)),
        value_(node.matrix(10, "rows", "columns", grid_, kernels_)) {
    require(head_size_ % kBlock == 0 && query_.rows() % head_size_ == 0, "the rows of a query are not whole heads of 4 n");
  }

  void compute(const Call& call) const {
    const Tensor x = call.input(0), mask = call.input(1);
    const int features = query_.rows(), heads = features / head_size_;
    Lanes lanes = lanes_of_codes(x, query_.columns());
    lanes.features = features;
    const std::vector<float> masks = padded_mask(mask, lanes);
    const size_t bytes = lanes.all_groups() * features * kLanes;
    uint8_t* query = Scratch::of_thread<uint8_t>(1, 3 * bytes);
    uint8_t* key = query + bytes;
    int8_t* value = reinterpret_cast<int8_t*>(key + bytes);
    project(call, x.as<uint8_t>(kUint8), lanes, query, key, value);

    uint8_t* context = call.output<uint8_t>(0, lanes.codes());
    const int groups = static_cast<int>(lanes.groups);
    const Tiles tiles(groups, kernels_.tile_groups);
    const size_t sequence_bytes = static_cast<size_t>(groups) * features * kLanes;
    call.parallel(static_cast<size_t>(lanes.batch) * heads * tiles.count, [&](size_t i) {
      const size_t tile = i % tiles.count, head = i / tiles.count % heads, sequence = i / tiles.count / heads;
      const size_t start = sequence * sequence_bytes, at = start + head * head_size_ * kLanes;
      const float* own_mask = masks.data() + sequence * groups * kLanes;
      const Attention attention{
          head_size_, groups, key_groups(own_mask, groups), tiles.first(tile), tiles.size(tile),
          static_cast<size_t>(features) * kLanes, query + at, key + at,
          value + start + head * head_size_ * groups * kLanes, own_mask, scale_, query_grid_, key_grid_,
          probability_grid_, value_grid_, context_grid_, context + at};
      kernels_.attend(attention, Scratch::of_thread<char>(2, attention_scratch(groups)));
    });
  }

 private:
  // The mask of each sequence, filled up to whole groups with -inf.
  static std::vector<float> padded_mask(const Tensor& mask, const Lanes& lanes) {
    const auto& s = mask.shape;
    require(s.size() == 4 && s[0] == lanes.batch && s[1] == 1 && s[2] == 1 && s[3] <= lanes.groups * kLanes &&
                s[3] > (lanes.groups - 1) * kLanes, "the mask of attention must be (batch, 1, 1, tokens)");
    std::vector<float> padded(lanes.all_groups() * kLanes, -INFINITY);
    const float* from = mask.as<float>(kFloat);
    for (int64_t i = 0; i < lanes.batch; i++)
      std::copy(from + i * s[3], from + (i + 1) * s[3], padded.begin() + i * lanes.groups * kLanes);
    return padded;
  }

  // The groups up to the last key that is not masked; keys after it would get a probability of 0.
  static int key_groups(const float* mask, int groups) {
    for (int i = groups * kLanes - 1; i >= 0; i--)
      if (mask[i] > -1e30f) return i / kLanes + 1;
    return groups;
  }

  void project(const Call& call, const uint8_t* x, const Lanes& lanes, uint8_t* query, uint8_t* key, int8_t* value) const {
    const size_t group_bytes = lanes.features * kLanes, groups = lanes.groups, width = groups * kLanes;
    const Matrix matrices[] = {query_.view(), key_.view(), value_.view()};
    // the three matrices are as one of three times the rows, so that small batches make work for all threads
    Matrix all = matrices[0];
    all.rows *= 3;
    for_tiles(call, kernels_, all, lanes.all_groups(), [&](size_t first, int count, Rows rows, int32_t* partial) {
      const Tile tile{x + first * all.columns * kLanes, count};
      for (int which = 0; which < 3; which++) {
        const int begin = which * matrices[0].rows;
        const Rows part{std::max(rows.first - begin, 0), std::min(rows.last - begin, matrices[0].rows)};
        if (part.first >= part.last) continue;
        if (which == 0)
          kernels_.linear_codes(matrices[0], tile, part, Activation::none, query_grid_, Operand::activation, query + first * group_bytes, partial);
        if (which == 1)
          kernels_.linear_codes(matrices[1], tile, part, Activation::none, key_grid_, Operand::weight, key + first * group_bytes, partial);
        if (which == 2) {
          int8_t* bytes[kMostTileGroups];
          for (int g = 0; g < count; g++) {
            const size_t group = first + g;
            bytes[g] = value + group / groups * groups * group_bytes + group % groups * kLanes;
          }
          kernels_.linear_bytes(matrices[2], tile, part, value_grid_, bytes, width, partial);
        }
      }
    });
  }

  Grid grid_, query_grid_, key_grid_, probability_grid_, value_grid_, context_grid_;
  float scale_;
  int head_size_;
  const Kernels& kernels_;
  PackedMatrix query_, key_, value_;
};

// The functions through which the runtime uses an operator.
template <class Operator>
struct Registered : OrtCustomOp {
  Registered() {
    GetName = [](const OrtCustomOp*) { return Operator::kName; };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
    GetInputTypeCount = [](const OrtCustomOp*) { return std::size(Operator::kInputs); };
    GetInputType = [](const OrtCustomOp*, size_t i) -> int { return Operator::kInputs[i]; };
    GetOutputTypeCount = [](const OrtCustomOp*) { return std::size(Operator::kOutputs); };
    GetOutputType = [](const OrtCustomOp*, size_t i) -> int { return Operator::kOutputs[i]; };
    GetInputCharacteristic = GetOutputCharacteristic = GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
    GetVariadicInputMinArity = GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
    GetVariadicInputHomogeneity = GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
    CreateKernelV2 = [](const OrtCustomOp*, void* const*, const OrtKernelInfo* info, void** kernel) {
      return guarded([&] { *kernel = new Operator(Node(info)); });
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      return guarded([&] { static_cast<const Operator*>(kernel)->compute(Call(context)); });
    };
    KernelDestroy = [](void* kernel) { delete static_cast<Operator*>(kernel); };
  }
};

// One domain for all sessions of the process: the runtime keeps pointers to it and its operators.
OrtCustomOpDomain* domain() {
  static OrtCustomOpDomain* const made = [] {
    static const Registered<Pack> pack;
    static const Registered<Unpack> unpack;
    static const Registered<Linear> linear;
    static const Registered<LinearActivation> linear_activation;
    static const Registered<LinearNorm> linear_norm;
    static const Registered<SelfAttention> self_attention;
    OrtCustomOpDomain* domain = nullptr;
    must(api.create_domain("winnow", &domain));
    const OrtCustomOp* operators[] = {&pack, &unpack, &linear, &linear_activation, &linear_norm, &self_attention};
    for (const OrtCustomOp* each : operators) must(api.add_to_domain(domain, each));
    return domain;
  }();
  return made;
}

}  // namespace
}  // namespace winnow

#define EXPORTED extern "C" __attribute__((visibility("default")))

// What `register_custom_ops_library` of ONNX Runtime calls.
EXPORTED OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace winnow;
  static void* const* const table = base->GetApi(kApiVersion);
  if (!table) {  // an older runtime; its first function makes a status in every version
    const Api oldest(base->GetApi(1));
    return oldest ? oldest.create_status(kFail, "the sparse engine needs ONNX Runtime 1.17 or newer") : nullptr;
  }
  static const bool once = (api = Api(table), true);
  (void)once;
  return guarded([&] {
    require(kernels() != nullptr, missing_kernels());
    must(api.add_domain(options, domain()));
  });
}

// The instruction set that this library uses here, or an empty text.
EXPORTED const char* winnow_instruction_set() {
  const winnow::Kernels* kernels = winnow::kernels();
  return kernels ? kernels->name : "";
}
