#include "http/h2/stream.h"

#include <bit>

namespace weir::http::h2 {

void StreamTable::erase(uint32_t id) {
  if (slots_.empty()) return;
  size_t i = home(id);
  while (slots_[i].id != id) {
    if (slots_[i].id == 0) return;
    i = (i + 1) & mask_;
  }
  // Backward shift: no tombstones, so that lookups stay short for the life of the connection.
  for (size_t j = (i + 1) & mask_; slots_[j].id != 0; j = (j + 1) & mask_) {
    size_t wanted = home(slots_[j].id);
    if (((j - wanted) & mask_) >= ((j - i) & mask_)) {
      slots_[i] = slots_[j];
      i = j;
    }
  }
  slots_[i] = {};
  --size_;
}

void StreamTable::resize(size_t slots) {
  std::vector<Slot> old;
  old.swap(slots_);
  slots_.resize(slots);
  mask_ = slots - 1;
  shift_ = 32 - static_cast<uint32_t>(std::countr_zero(slots));
  size_ = 0;
  for (const Slot& s : old) {
    if (s.id != 0) insert(s.id, s.index);
  }
}

}  // namespace weir::http::h2
