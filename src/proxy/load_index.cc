#include "proxy/load_index.h"

#include <algorithm>

namespace weir::proxy {

namespace {
constexpr size_t kNone = SIZE_MAX;

}  // namespace

void LoadIndex::resize(size_t size) {
  size_ = size;
  size_t blocks = (size + kBlock - 1) / kBlock;
  loads_.assign(blocks * kBlock, UINT32_MAX);
  std::fill_n(loads_.begin(), size, 0);
  minima_.assign(blocks, {0, static_cast<uint32_t>(kBlock)});
  if (size % kBlock != 0) minima_.back().count = static_cast<uint32_t>(size % kBlock);
}

LoadIndex::Minimum LoadIndex::minimum_of(size_t block) const {
  const uint32_t* loads = &loads_[block * kBlock];
  size_t count = std::min(kBlock, size_ - block * kBlock);
  Minimum least{loads[0], 1};
  for (size_t i = 1; i < count; ++i) {
    if (loads[i] < least.load) least = {loads[i], 0};
    least.count += loads[i] == least.load;
  }
  return least;
}

// The block is walked over only when the last of its least counts grows.
void LoadIndex::set(size_t index, uint32_t load) {
  uint32_t before = loads_[index];
  if (load == before) return;
  loads_[index] = load;
  Minimum& least = minima_[index / kBlock];
  if (load < least.load) {
    least = {load, 1};
  } else if (load == least.load) {
    ++least.count;
  } else if (before == least.load && --least.count == 0) {
    least = minimum_of(index / kBlock);
  }
}

size_t LoadIndex::find_in_block(size_t block, size_t begin, uint32_t load) const {
  for (size_t i = begin, end = std::min(size_, (block + 1) * kBlock); i < end; ++i) {
    if (loads_[i] == load) return i;
  }
  return kNone;
}

size_t LoadIndex::least_from(size_t from) const {
  uint32_t least = std::ranges::min_element(minima_, {}, &Minimum::load)->load;
  size_t block = from / kBlock;
  if (minima_[block].load == least) {
    if (size_t found = find_in_block(block, from, least); found != kNone) return found;
  }
  for (size_t step = 1; step <= minima_.size(); ++step) {  // the last one is the first block again, from its begin
    size_t next = (block + step) % minima_.size();
    if (minima_[next].load == least) return find_in_block(next, next * kBlock, least);
  }
  return from;  // not reached: some block has the minimum
}

}  // namespace weir::proxy
