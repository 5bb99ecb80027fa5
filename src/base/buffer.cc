#include "base/buffer.h"

#include <bit>
#include <cstdlib>

namespace weir {

namespace {
constexpr size_t kBlockBytesMin = 256;

int class_of(size_t bytes) {
  size_t units = (bytes + kBlockBytesMin - 1) / kBlockBytesMin;
  return units <= 1 ? 0 : std::bit_width(units - 1);
}
}  // namespace

BufferPool::~BufferPool() {
  for (auto& list : free_) {
    for (uint8_t* block : list.blocks) std::free(block);
  }
}

uint8_t* BufferPool::take(size_t bytes, size_t* capacity) {
  int size_class = class_of(bytes);
  WEIR_ASSERT(size_class < kClasses);
  *capacity = kBlockBytesMin << size_class;
  in_use_bytes_ += *capacity;
  auto& list = free_[size_class];
  if (!list.blocks.empty()) {
    uint8_t* block = list.blocks.back();
    list.blocks.pop_back();
    list.unused = std::min(list.unused, list.blocks.size());
    kept_bytes_ -= *capacity;
    return block;
  }
  auto* block = static_cast<uint8_t*>(std::malloc(*capacity));
  WEIR_ASSERT(block != nullptr);
  return block;
}

void BufferPool::give(uint8_t* block, size_t capacity) {
  in_use_bytes_ -= capacity;
  if (kept_bytes_ + capacity > kept_bytes_max_) {
    std::free(block);
    return;
  }
  kept_bytes_ += capacity;
  free_[class_of(capacity)].blocks.push_back(block);
}

size_t BufferPool::trim() {
  size_t freed = 0;
  for (int c = 0; c < kClasses; ++c) {
    std::vector<uint8_t*>& blocks = free_[c].blocks;
    auto end = blocks.begin() + static_cast<ptrdiff_t>(free_[c].unused);  // taken from the back: these lay longest
    std::for_each(blocks.begin(), end, [](uint8_t* block) { std::free(block); });
    freed += free_[c].unused * (kBlockBytesMin << c);
    blocks.erase(blocks.begin(), end);
    free_[c].unused = blocks.size();
  }
  kept_bytes_ -= freed;
  return freed;
}

void Buffer::grow(size_t bytes) {
  size_t live = size();
  if (block_ != nullptr && head_ >= live && capacity_ - live >= bytes) {  // sliding costs at most one copy per byte
    std::memcpy(block_, block_ + head_, live);
    head_ = 0;
    tail_ = live;
    return;
  }
  size_t capacity = 0;
  size_t wanted = live + bytes;
  if (block_ != nullptr && wanted < capacity_ * 2) wanted = capacity_ * 2;
  uint8_t* block = pool_->take(wanted, &capacity);
  if (live > 0) std::memcpy(block, block_ + head_, live);
  if (block_ != nullptr) pool_->give(block_, capacity_);
  block_ = block;
  capacity_ = capacity;
  head_ = 0;
  tail_ = live;
}

void Buffer::release() {
  if (block_ != nullptr) pool_->give(block_, capacity_);
  block_ = nullptr;
  capacity_ = head_ = tail_ = 0;
}

Arena::~Arena() {
  for (Block& block : blocks_) std::free(block.data);
}

void Arena::refill(size_t bytes) {
  while (next_ != nullptr && block_index_ + 1 < blocks_.size()) {
    ++block_index_;
    if (blocks_[block_index_].size >= bytes) {
      next_ = blocks_[block_index_].data;
      end_ = next_ + blocks_[block_index_].size;
      return;
    }
  }
  size_t size = bytes > block_bytes_ ? bytes : block_bytes_;
  auto* data = static_cast<char*>(std::malloc(size));
  WEIR_ASSERT(data != nullptr);
  blocks_.push_back({data, size});
  block_index_ = blocks_.size() - 1;
  next_ = data;
  end_ = data + size;
}

void Arena::rewind_block(Mark mark) {
  if (blocks_.empty()) return;
  block_index_ = mark.next != nullptr ? mark.block : 0;
  const Block& block = blocks_[block_index_];
  next_ = mark.next != nullptr ? mark.next : block.data;
  end_ = block.data + block.size;
}

void Arena::reset() {
  // An outsized block (one huge header list) is not kept.
  while (blocks_.size() > 4) {
    std::free(blocks_.back().data);
    blocks_.pop_back();
  }
  block_index_ = 0;
  next_ = blocks_.empty() ? nullptr : blocks_[0].data;
  end_ = blocks_.empty() ? nullptr : next_ + blocks_[0].size;
}

}  // namespace weir
