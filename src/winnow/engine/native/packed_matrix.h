// The weights of a linear layer as a kernel reads them, unpacked from a file that may be damaged.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels.h"

namespace winnow {

// As stored: the blocks that are not zero, row after row, and a bit for each place of a block that says if it is there.
struct StoredMatrix {
  int rows, columns;
  const int8_t* blocks;
  size_t block_bytes;
  const uint8_t* present;  // [rows][columns / 4] bits, the lowest bit of a byte first
  size_t present_bytes;
  const float* scales;  // [rows]
  size_t scale_count;
  const int32_t* bias;  // [rows], in units of input scale times scale of the row
  size_t bias_count;
};

class PackedMatrix {
 public:
  // Throws std::invalid_argument if the parts do not fit together, or if a sum could overflow 32 bits.
  PackedMatrix(const StoredMatrix& stored, Grid input, int activation_offset);
  Matrix view() const;
  int rows() const { return rows_; }  // of the layer
  int columns() const { return columns_; }

 private:
  int rows_, columns_, padded_rows_;
  std::vector<int32_t> blocks_, starts_, bias_;
  std::vector<uint16_t> offsets_;
  std::vector<float> scales_;
};

}  // namespace winnow
