#include "http/h2/stream.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace weir::http::h2 {

void StreamTable::resize() {
  std::vector<Slot> old = std::exchange(own_, std::vector<Slot>(std::max<size_t>(16, own_.size() * 2)));
  std::vector<Slot> others = std::exchange(others_, {});
  slots_ = own_.data();
  mask_ = static_cast<uint32_t>(own_.size() - 1);
  size_max_ = static_cast<uint32_t>(own_.size() / 2);
  size_ = others_size_ = 0;
  for (const auto* from : {&old, &others}) {
    for (const Slot& s : *from) {
      if (s.id != 0) insert(s.id, s.index);
    }
  }
}

uint32_t StreamTable::find_other(uint32_t id) const {
  const size_t mask = others_.size() - 1;
  for (size_t i = other_home(id);; i = (i + 1) & mask) {
    if (others_[i].id == id) return others_[i].index;
    if (others_[i].id == 0) return UINT32_MAX;
  }
}

void StreamTable::insert_other(uint32_t id, uint32_t index) {
  if ((others_size_ + 1) * 2 > others_.size()) resize_others(std::max<size_t>(16, others_.size() * 2));
  const size_t mask = others_.size() - 1;
  size_t i = other_home(id);
  while (others_[i].id != 0) i = (i + 1) & mask;
  others_[i] = {id, index};
  ++others_size_;
}

void StreamTable::erase_other(uint32_t id) {
  if (others_size_ == 0) return;
  const size_t mask = others_.size() - 1;
  size_t i = other_home(id);
  while (others_[i].id != id) {
    if (others_[i].id == 0) return;
    i = (i + 1) & mask;
  }
  // Backward shift: no tombstones, so that lookups stay short for the life of the connection.
  for (size_t j = (i + 1) & mask; others_[j].id != 0; j = (j + 1) & mask) {
    size_t wanted = other_home(others_[j].id);
    if (((j - wanted) & mask) >= ((j - i) & mask)) {
      others_[i] = others_[j];
      i = j;
    }
  }
  others_[i] = {};
  --others_size_;
  --size_;
}

void StreamTable::resize_others(size_t slots) {
  std::vector<Slot> old = std::exchange(others_, std::vector<Slot>(slots));
  others_shift_ = 32 - static_cast<uint32_t>(std::countr_zero(slots));
  others_size_ = 0;
  for (const Slot& s : old) {
    if (s.id != 0) insert_other(s.id, s.index);
  }
}

}  // namespace weir::http::h2
