#include "packed_matrix.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace winnow {
namespace {

constexpr int kBlocksOfChunk = kChunk / kBlock;
constexpr int kLargestSize = 1 << 20;  // rows or columns; far above any encoder's, far below an overflow

void check(bool holds, const char* problem) {
  if (!holds) throw std::invalid_argument(problem);
}

bool bit(const uint8_t* bits, size_t index) { return bits[index / 8] >> (index % 8) & 1; }

size_t count_bits(const uint8_t* bits, size_t count) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) found += bit(bits, i);
  return found;
}

void check_parts(const StoredMatrix& m) {
  check(m.rows > 0 && m.rows <= kLargestSize && m.columns > 0 && m.columns <= kLargestSize && m.columns % kBlock == 0,
        "a packed weight has an impossible shape");
  const size_t places = static_cast<size_t>(m.rows) * (m.columns / kBlock);
  check(places <= std::numeric_limits<int32_t>::max(), "a packed weight has more blocks than can be counted");
  check(m.present_bytes == (places + 7) / 8, "the bits of a packed weight do not fit its shape");
  check(m.block_bytes == kBlock * count_bits(m.present, places),
        "a packed weight does not have as many blocks as bits");
  check(m.scale_count == static_cast<size_t>(m.rows) && m.bias_count == static_cast<size_t>(m.rows),
        "a packed weight does not have a scale and a bias for each row");
}

}  // namespace

PackedMatrix::PackedMatrix(const StoredMatrix& stored, Grid input, int activation_offset)
    : rows_(stored.rows), columns_(stored.columns), padded_rows_(0) {
  check_parts(stored);
  padded_rows_ = (rows_ + 3) / 4 * 4;
  const int places = columns_ / kBlock, chunks = (columns_ + kChunk - 1) / kChunk;
  std::vector<size_t> row_begins(rows_ + 1, 0);  // in blocks
  for (int row = 0; row < rows_; row++) {
    size_t count = 0;
    for (int place = 0; place < places; place++)
      count += bit(stored.present, static_cast<size_t>(row) * places + place);
    row_begins[row + 1] = row_begins[row] + count;
  }
  std::vector<size_t> next(row_begins.begin(), row_begins.end() - 1);  // the block of each row that is read next
  for (int chunk = 0; chunk < chunks; chunk++) {
    const int first = chunk * kBlocksOfChunk, last = first + kBlocksOfChunk < places ? first + kBlocksOfChunk : places;
    for (int row = 0; row < padded_rows_; row++) {
      starts_.push_back(static_cast<int32_t>(blocks_.size()));
      for (int place = first; row < rows_ && place < last; place++) {
        if (!bit(stored.present, static_cast<size_t>(row) * places + place)) continue;
        int32_t block;
        std::memcpy(&block, stored.blocks + kBlock * next[row]++, kBlock);
        blocks_.push_back(block);
        offsets_.push_back(static_cast<uint16_t>((place - first) * (kLine / 8)));
      }
      if (blocks_.size() % 2) {  // kernels take two at a time
        blocks_.push_back(0);
        offsets_.push_back(0);
      }
    }
    starts_.push_back(static_cast<int32_t>(blocks_.size()));
  }
  bias_.assign(padded_rows_, 0);
  scales_.assign(padded_rows_, 0.0f);
  for (int row = 0; row < rows_; row++) {
    int64_t sum = 0, largest = std::llabs(static_cast<int64_t>(stored.bias[row]));
    for (size_t i = kBlock * row_begins[row]; i < kBlock * row_begins[row + 1]; i++) {
      sum += stored.blocks[i];
      largest += 2 * 255 * std::abs(stored.blocks[i]);
    }
    check(largest < std::numeric_limits<int32_t>::max(), "the sums of a packed weight could overflow 32 bits");
    bias_[row] = static_cast<int32_t>(stored.bias[row] - (input.zero_point - activation_offset) * sum);
    scales_[row] = input.scale * stored.scales[row];
  }
}

Matrix PackedMatrix::view() const {
  return {padded_rows_, columns_, blocks_.data(), offsets_.data(), starts_.data(), bias_.data(), scales_.data()};
}

}  // namespace winnow
