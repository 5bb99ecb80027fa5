#include "http/h2/hpack_ring.h"

#include <algorithm>

namespace weir::http::h2 {

namespace {
constexpr uint32_t kFirstEntries = 16;
constexpr uint32_t kFirstBytes = 1024;
}  // namespace

void HpackRing::evict_to(uint32_t size) {
  while (size_ > size) {
    size_ -= at_age(count_ - 1).size();
    --count_;
  }
  if (count_ == 0) base_ = tail_;
}

void HpackRing::resize(uint32_t size_max) {
  size_max_ = size_max;
  evict_to(size_max);
}

void HpackRing::insert(Entry entry, const char* name, const char* value) {
  evict_to(size_max_ - entry.size());
  if (count_ == entry_capacity_) grow_entries();
  const uint16_t name_size = entry.known_name != 0 ? 0 : entry.name_size;
  entry.name_stored = name_size;
  make_room(name_size + entry.value_size);
  char* to = bytes_.get() + (tail_ - base_);
  if (name_size > 0) std::memcpy(to, name, name_size);
  if (entry.value_size > 0) std::memcpy(to + name_size, value, entry.value_size);
  entry.position = tail_;
  tail_ += name_size + entry.value_size;
  entries_[++newest_ & entry_mask_] = entry;
  ++count_;
  size_ += entry.size();
}

void HpackRing::grow_entries() {
  uint32_t capacity = entry_capacity_ == 0 ? kFirstEntries : entry_capacity_ * 2;
  auto entries = std::make_unique_for_overwrite<Entry[]>(capacity);
  for (uint32_t age = 0; age < count_; ++age) entries[(newest_ - age) & (capacity - 1)] = at_age(age);
  entries_ = std::move(entries);
  entry_capacity_ = capacity;
  entry_mask_ = capacity - 1;
}

// The live bytes are one run from the oldest entry to tail_. When the end is reached they move back to the
// start; a quarter more than the table can hold keeps that rare.
void HpackRing::make_room(uint32_t bytes) {
  if (bytes_ != nullptr && byte_capacity_ - (tail_ - base_) >= bytes) return;
  uint32_t first = count_ > 0 ? at_age(count_ - 1).position : tail_;
  uint32_t live = tail_ - first;
  uint32_t wanted = std::max(live + bytes + (live + bytes) / 4, kFirstBytes);
  if (wanted <= byte_capacity_ || byte_capacity_ >= size_max_ever_ + size_max_ever_ / 4) {
    std::memmove(bytes_.get(), bytes_.get() + (first - base_), live);
  } else {
    uint32_t capacity = std::max(wanted, byte_capacity_ * 2);
    capacity = std::min(capacity, std::max(size_max_ever_ + size_max_ever_ / 4, kFirstBytes));
    auto fresh = std::make_unique<char[]>(capacity + kCopySlack);
    if (live > 0) std::memcpy(fresh.get(), bytes_.get() + (first - base_), live);
    bytes_ = std::move(fresh);
    byte_capacity_ = capacity;
  }
  base_ = first;
}

}  // namespace weir::http::h2
