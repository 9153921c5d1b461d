// Tokens in lanes: where they lie, and how work on them is cut into pieces.
//
// Tensors in lanes have the shape (groups, features, 16) as values, float, and (groups, features / 4, 64) as codes,
// uint8. A batch is the groups of its sequences, one after the other, without those that are only padding. The mask of
// the batch, (batch, 1, 1, tokens), says where a sequence ends; lanes behind its end belong to no token.
#pragma once
#include <algorithm>
#include <cmath>

#include "cpu.h"
#include "runtime.h"

namespace winnow {

constexpr int kWorkPieces = 8;   // into which a small product is cut, for the threads of a session
constexpr int kFewestRows = 64;  // of one piece

inline const Kernels& kernels_for(std::initializer_list<Grid> grids) {
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
    const size_t tile = i % tiles.count, part = i / tiles.count;  // the weights of a part stay in cache
    const Rows rows{static_cast<int>(fours * part / parts * 4), static_cast<int>(fours * (part + 1) / parts * 4)};
    int32_t* partial = Scratch::of_thread<int32_t>(0, partial_sums(rows.last - rows.first));
    f(tiles.first(tile), tiles.size(tile), rows, partial);
  });
}

constexpr float kLog2OfE = 1.44269504f;

struct Lanes {
  int64_t groups, features;
  std::vector<int64_t> values() const { return {groups, features, kLanes}; }
  std::vector<int64_t> codes() const { return {groups, features / kBlock, kLine}; }
};

inline Lanes lanes_of_codes(const Tensor& codes, int features) {
  const auto& s = codes.shape;
  require(s.size() == 3 && s[1] == features / kBlock && s[2] == kLine, "codes do not have the shape of their operator");
  return {s[0], features};
}

inline const float* values_like(const Tensor& values, const Lanes& lanes) {
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

  // The mask of each lane in units of log 2. A lane without a token is far below a masked one, so that it has no part
  // in a sequence of masked tokens either.
  std::vector<float> mask() const {
    std::vector<float> lanes(groups() * kLanes, 4 * kMasked);
    for (int64_t i = 0; i < groups(); i++)
      std::transform(mask_ + row(i), mask_ + row(i) + count(i), lanes.begin() + i * kLanes,
                     [](float mask) { return std::max(mask, kMasked) * kLog2OfE; });
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

inline std::vector<float> vector_of(const Tensor& tensor, int size) {
  require(tensor.size() == static_cast<size_t>(size), "a vector does not have as many numbers as a matrix has rows");
  const float* data = tensor.as<float>(kFloat);
  return {data, data + size};
}

}  // namespace winnow
