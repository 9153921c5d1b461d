// The operators of the domain "winnow", which work on tokens in lanes (kernels.h), and their registration.
//
// Tensors in lanes have the shape (groups, features, 16) as values, float, and (groups, features / 4, 64) as codes, uint8.
// A batch is the groups of its sequences, one after the other, without those that are only padding. The mask of the
// batch, (batch, 1, 1, tokens), says where a sequence ends; lanes behind its end belong to no token.
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
  int64_t groups, features;
  std::vector<int64_t> values() const { return {groups, features, kLanes}; }
  std::vector<int64_t> codes() const { return {groups, features / kBlock, kLine}; }
};

Lanes lanes_of_codes(const Tensor& codes, int features) {
  const auto& s = codes.shape;
  require(s.size() == 3 && s[1] == features / kBlock && s[2] == kLine, "codes do not have the shape of their operator");
  return {s[0], features};
}

const float* values_like(const Tensor& values, const Lanes& lanes) {
  require(values.shape == lanes.values(), "values do not have the shape of their operator");
  return values.as<float>(kFloat);
}

// Where the sequences of a batch begin and end, by its mask.
class Sequences {
 public:
  explicit Sequences(const Tensor& mask) : batch(0), tokens(0) {
    const auto& s = mask.shape;
    require(s.size() == 4 && s[1] == 1 && s[2] == 1, "the mask must be (batch, 1, 1, tokens)");
    batch = s[0], tokens = s[3];
    mask_ = mask.as<float>(kFloat);
    for (int64_t i = 0; i < batch; i++) {
      begins.push_back(static_cast<int>(sequences.size()));
      sequences.insert(sequences.end(), (length(i) + kLanes - 1) / kLanes, static_cast<int>(i));
    }
    begins.push_back(static_cast<int>(sequences.size()));
  }

  int64_t batch, tokens;       // of the padded batch
  std::vector<int> begins;     // [batch + 1]: the first group of each sequence
  std::vector<int> sequences;  // the sequence of each group

  int64_t groups() const { return begins.back(); }
  int groups_of(int sequence) const { return begins[sequence + 1] - begins[sequence]; }

  // The place of a group's first token in the padded batch, and how many tokens the group has.
  int64_t row(size_t group) const { return sequences[group] * tokens + position(group); }
  int count(size_t group) const { return static_cast<int>(std::min<int64_t>(kLanes, tokens - position(group))); }

  // The mask of each lane, -inf where there is no token.
  std::vector<float> mask() const {
    std::vector<float> lanes(groups() * kLanes, -INFINITY);
    for (int64_t i = 0; i < groups(); i++) std::copy_n(mask_ + row(i), count(i), lanes.begin() + i * kLanes);
    return lanes;
  }

 private:
  // Tokens up to the last one that is not masked; all of them, if none is.
  int64_t length(int64_t sequence) const {
    const float* mask = mask_ + sequence * tokens;
    for (int64_t i = tokens; i > 0; i--)
      if (mask[i - 1] > kMasked) return i;
    return tokens;
  }
  int64_t position(size_t group) const { return (static_cast<int64_t>(group) - begins[sequences[group]]) * kLanes; }

  static constexpr float kMasked = -1e30f;  // the mask of a token that is left out is below
  const float* mask_;
};

std::vector<float> vector_of(const Tensor& tensor, int size) {
  require(tensor.size() == static_cast<size_t>(size), "a vector does not have as many numbers as a matrix has rows");
  const float* data = tensor.as<float>(kFloat);
  return {data, data + size};
}

// x (batch, tokens, features), mask -> its values in lanes, and its codes.
class Pack {
 public:
  static constexpr const char* kName = "Pack";
  static constexpr ElementType kInputs[] = {kFloat, kFloat}, kOutputs[] = {kFloat, kUint8};

  explicit Pack(const Node& node) : grid_(node.grid("x")), kernels_(kernels_for({grid_})) {}

  void compute(const Call& call) const {
    const Tensor x = call.input(0), mask = call.input(1);
    const Sequences sequences(mask);
    require(x.shape.size() == 3 && x.shape[0] == sequences.batch && x.shape[1] == sequences.tokens && x.shape[2] % kBlock == 0,
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
      kernels_.from_lanes(from + group * features * kLanes, sequences.count(group), features, rows + sequences.row(group) * features);
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
    for_tiles(call, kernels_, matrix, lanes.groups, [&](size_t first, int count, Rows rows, int32_t* partial) {
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
    for (const PackedMatrix* each : {&key_, &value_})
      require(each->rows() == query_.rows() && each->columns() == query_.columns(), "query, key and value differ in shape");
  }

  void compute(const Call& call) const {
    const Tensor x = call.input(0), mask = call.input(1);
    const Sequences sequences(mask);
    const int features = query_.rows(), heads = features / head_size_;
    Lanes lanes = lanes_of_codes(x, query_.columns());
    require(lanes.groups == sequences.groups(), "the codes of attention do not have as many groups as its mask");
    lanes.features = features;
    const size_t group_bytes = static_cast<size_t>(features) * kLanes, bytes = lanes.groups * group_bytes;
    uint8_t* query = Scratch::of_thread<uint8_t>(1, 3 * bytes);
    uint8_t* key = query + bytes;
    int8_t* value = reinterpret_cast<int8_t*>(key + bytes);
    project(call, x.as<uint8_t>(kUint8), sequences, query, key, value);

    uint8_t* context = call.output<uint8_t>(0, lanes.codes());
    const std::vector<float> masks = sequences.mask();
    const std::vector<QueryTile> tiles = query_tiles(sequences);
    call.parallel(tiles.size() * heads, [&](size_t i) {
      const QueryTile& tile = tiles[i / heads];
      const size_t head = i % heads, group = sequences.begins[tile.sequence];
      const int groups = sequences.groups_of(tile.sequence);
      const size_t start = group * group_bytes, at = start + head * head_size_ * kLanes;
      const Attention attention{
          head_size_, groups, tile.first, tile.groups, group_bytes, query + at, key + at,
          value + start + head * head_size_ * groups * kLanes, masks.data() + group * kLanes, scale_, query_grid_,
          key_grid_, probability_grid_, value_grid_, context_grid_, context + at};
      kernels_.attend(attention, Scratch::of_thread<char>(2, attention_scratch(groups)));
    });
  }

 private:
  struct QueryTile {
    int sequence, first, groups;
  };

  std::vector<QueryTile> query_tiles(const Sequences& sequences) const {
    std::vector<QueryTile> found;
    for (int sequence = 0; sequence < sequences.batch; sequence++) {
      const Tiles tiles(sequences.groups_of(sequence), kernels_.tile_groups);
      for (int i = 0; i < tiles.count; i++) found.push_back({sequence, tiles.first(i), tiles.size(i)});
    }
    return found;
  }

  void project(const Call& call, const uint8_t* x, const Sequences& sequences, uint8_t* query, uint8_t* key, int8_t* value) const {
    const Matrix matrices[] = {query_.view(), key_.view(), value_.view()};
    const size_t group_bytes = static_cast<size_t>(matrices[0].rows) * kLanes;
    // the three matrices are as one of three times the rows, so that small batches make work for all threads
    Matrix all = matrices[0];
    all.rows *= 3;
    for_tiles(call, kernels_, all, sequences.groups(), [&](size_t first, int count, Rows rows, int32_t* partial) {
      const Tile tile{x + first * all.columns * kLanes, count};
      for (int which = 0; which < 3; which++) {
        const int begin = which * matrices[0].rows;
        const Rows part{std::max(rows.first - begin, 0), std::min(rows.last - begin, matrices[0].rows)};
        if (part.first >= part.last) continue;
        if (which == 0)
          kernels_.linear_codes(matrices[0], tile, part, Activation::none, query_grid_, Operand::activation, query + first * group_bytes, partial);
        if (which == 1)
          kernels_.linear_codes(matrices[1], tile, part, Activation::none, key_grid_, Operand::weight, key + first * group_bytes, partial);
        if (which == 2) project_value(matrices[2], tile, part, sequences, first, value, partial);
      }
    });
  }

  void project_value(const Matrix& matrix, Tile tile, Rows rows, const Sequences& sequences, size_t first, int8_t* value, int32_t* partial) const {
    int8_t* bytes[kMostTileGroups];
    size_t strides[kMostTileGroups];
    for (int g = 0; g < tile.groups; g++) {
      const int sequence = sequences.sequences[first + g], begin = sequences.begins[sequence];
      bytes[g] = value + (static_cast<size_t>(begin) * matrix.rows + first + g - begin) * kLanes;
      strides[g] = static_cast<size_t>(sequences.groups_of(sequence)) * kLanes;
    }
    kernels_.linear_bytes(matrix, tile, rows, value_grid_, bytes, strides, partial);
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
