// What the operators ask of the kernels of one instruction set.
//
// Layout. Sixteen tokens are a group, one token a lane. Float values of a group are [features][16]. Codes, the integers
// of a quantised tensor, are [features / 4][16][4] bytes: a line of 64 bytes has four neighbouring features of sixteen
// tokens. A tile is a few consecutive groups, whose weights are read once.
#pragma once
#include <cstddef>
#include <cstdint>

namespace winnow {

constexpr int kLanes = 16;  // tokens of a group
constexpr int kBlock = 4;   // neighbouring inputs that share a block of weights
constexpr int kLine = kLanes * kBlock;
constexpr int kChunk = 768;         // inputs that are multiplied with all rows before the next ones, to stay in cache
constexpr int kMostTileGroups = 4;  // of all instruction sets

// A quantisation grid: code = min(high, round(value / scale) + zero_point), at least 0.
struct Grid {
  float scale = 1;
  int zero_point = 0;
  int high = 255;
};

enum class Activation { none, gelu, relu };

// Codes are multiplied either as activations or as weights, which are signed bytes.
enum class Operand { activation, weight };

// A sparse matrix: for each row the blocks of four weights that are not all zero.
struct Matrix {
  int rows;                 // a multiple of 4
  int columns;              // a multiple of 4
  const int32_t* blocks;    // four signed bytes each
  const uint16_t* offsets;  // of each block's line in its chunk, in units of 8 bytes
  const int32_t* starts;    // [chunks][rows + 1]: first block of each row; each row has an even number of blocks
  const int32_t* bias;      // [rows]: where the integer sum of a row starts
  const float* scales;      // [rows]: value of an integer sum of 1
};

struct Rows {
  int first, last;  // multiples of 4, the last one excluded
};

// Codes of consecutive groups, each with all columns of a matrix.
struct Tile {
  const uint8_t* codes;
  int groups;
};

// One head of one sequence, for a few groups of queries.
struct Attention {
  int head_size;                  // a multiple of 4
  int groups;                     // of the sequence
  int query_group, query_groups;  // the groups of this tile
  size_t group_stride;            // bytes between groups of query, key and context
  const uint8_t* query;           // codes as activations, of the first group of the sequence, at this head
  const uint8_t* key;             // codes as weights
  const int8_t* value;            // [head_size][groups * 16] signed bytes: code - 128
  const float* mask;              // [groups * 16], in units of log 2, added to the scores
  float scale;                    // of a product of query and key, in units of log 2
  Grid query_grid, key_grid, probability_grid, value_grid, context_grid;
  uint8_t* context;  // codes as activations
};

struct Kernels {
  const char* name;
  int tile_groups;
  int attention_groups;   // of a tile of queries, whose scores stay in cache
  int activation_offset;  // what is subtracted from the codes of activations where they are stored

  // Sums of a tile as codes of another grid.
  void (*linear_codes)(const Matrix&, Tile, Rows, Activation, Grid, Operand, uint8_t* codes, int32_t* partial);
  // Sums of a tile as signed bytes code - 128: row i of group g is at bytes[g] + i * strides[g].
  void (*linear_bytes)(const Matrix&, Tile, Rows, Grid, int8_t* const* bytes, const size_t* strides, int32_t* partial);
  // Sums of a tile as values, plus those of a residual connection unless it is null.
  void (*linear_values)(const Matrix&, Tile, Rows, const float* residual, float* values, int32_t* partial);
  // Layer normalisation of one group in place, and its codes; features are a multiple of 4.
  void (*normalize)(float* values, int features, const float* gamma, const float* beta, float epsilon, Grid,
                    uint8_t* codes);
  // Values of one group as codes.
  void (*quantize)(const float* values, int features, Grid, uint8_t* codes);
  // [tokens][features] to the values of one group, whose other lanes become 0, and back.
  void (*to_lanes)(const float* rows, int tokens, int features, float* values);
  void (*from_lanes)(const float* values, int tokens, int features, float* rows);
  void (*attend)(const Attention&, void* scratch);
};

// Bytes of scratch of `attend`, and integers of `partial`, for a tile of the most groups.
inline size_t attention_scratch(int groups) {
  return static_cast<size_t>(groups) * kLanes * kLanes * kMostTileGroups * 5;
}
inline size_t partial_sums(int rows) { return static_cast<size_t>(rows) * kLanes * kMostTileGroups; }

#if defined(__x86_64__)
extern const Kernels kAvx512, kAvxVnni, kAvx2, kAvx2SevenBits;
#elif defined(__aarch64__)
extern const Kernels kNeon;
#endif

}  // namespace winnow
