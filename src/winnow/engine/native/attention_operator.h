// The operator of self-attention: three projections, softmax, and the weighted values, in integers.
#pragma once
#include "lanes.h"

namespace winnow {

// Codes, mask (batch, 1, 1, tokens) -> codes of the context of self-attention, with the weights of query, key and
// value.
class SelfAttention {
 public:
  static constexpr const char* kName = "SelfAttention";
  static constexpr ElementType kInputs[] = {kUint8, kFloat, kInt8,  kUint8, kFloat, kInt32, kInt8,
                                            kUint8, kFloat, kInt32, kInt8,  kUint8, kFloat, kInt32},
                               kOutputs[] = {kUint8};

  explicit SelfAttention(const Node& node)
      : grid_(node.grid("x")),
        query_grid_(node.grid("query")),
        key_grid_(node.grid("key")),
        probability_grid_(node.grid("probabilities")),
        value_grid_(node.grid("value")),
        context_grid_(node.grid("y")),
        scale_(node.number("scale") * query_grid_.scale * key_grid_.scale * kLog2OfE),
        head_size_(node.integer("head_size", 4, 1 << 16)),
        kernels_(kernels_for({grid_, query_grid_, probability_grid_})),
        query_(node.matrix(2, "rows", "columns", grid_, kernels_)),
        key_(node.matrix(6, "rows", "columns", grid_, kernels_)),
        value_(node.matrix(10, "rows", "columns", grid_, kernels_)) {
    require(head_size_ % kBlock == 0 && query_.rows() % head_size_ == 0,
            "the rows of a query are not whole heads of 4 n");
    for (const PackedMatrix* each : {&key_, &value_})
      require(each->rows() == query_.rows() && each->columns() == query_.columns(),
              "query, key and value differ in shape");
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
      const Attention attention{head_size_,
                                groups,
                                tile.first,
                                tile.groups,
                                group_bytes,
                                query + at,
                                key + at,
                                value + start + head * head_size_ * groups * kLanes,
                                masks.data() + group * kLanes,
                                scale_,
                                query_grid_,
                                key_grid_,
                                probability_grid_,
                                value_grid_,
                                context_grid_,
                                context + at};
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
      const Tiles tiles(sequences.groups_of(sequence), kernels_.attention_groups);
      for (int i = 0; i < tiles.count; i++) found.push_back({sequence, tiles.first(i), tiles.size(i)});
    }
    return found;
  }

  void project(const Call& call, const uint8_t* x, const Sequences& sequences, uint8_t* query, uint8_t* key,
               int8_t* value) const {
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
          kernels_.linear_codes(matrices[0], tile, part, Activation::none, query_grid_, Operand::activation,
                                query + first * group_bytes, partial);
        if (which == 1)
          kernels_.linear_codes(matrices[1], tile, part, Activation::none, key_grid_, Operand::weight,
                                key + first * group_bytes, partial);
        if (which == 2) project_value(matrices[2], tile, part, sequences, first, value, partial);
      }
    });
  }

  void project_value(const Matrix& matrix, Tile tile, Rows rows, const Sequences& sequences, size_t first,
                     int8_t* value, int32_t* partial) const {
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

}  // namespace winnow
