// The least of many counts: blocks of counts with the minimum of each, so that a change and a look-up walk over one
// block and the list of minima (1,000 counts: 32 + 32 numbers), however many there are in all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weir::proxy {

class LoadIndex {
 public:
  static constexpr size_t kBlock = 32;

  void resize(size_t size);  // all counts become 0
  size_t size() const { return size_; }
  uint32_t at(size_t index) const { return loads_[index]; }
  void set(size_t index, uint32_t load);
  // The first index at or after `from`, going round, that has the least count. There is one count at least.
  size_t least_from(size_t from) const;

 private:
  size_t find_in_block(size_t block, size_t begin, uint32_t load) const;

  size_t size_ = 0;
  std::vector<uint32_t> loads_;  // whole blocks, filled up with UINT32_MAX
  struct Minimum {
    uint32_t load;
    uint32_t count;  // of the block's counts that have it
  };
  Minimum minimum_of(size_t block) const;
  std::vector<Minimum> minima_;
};

}  // namespace weir::proxy
