// Deadlines of exchanges: a hashed wheel, O(1) to set and to take back, no allocation. Coarse on purpose:
// an entry fires up to one slot (16 ms) late, never early.
#pragma once

#include <array>

#include "base/slab.h"
#include "proxy/exchange.h"

namespace weir::proxy {

class DeadlineWheel {
 public:
  static constexpr Duration kSlot = std::chrono::milliseconds(16);
  static constexpr size_t kSlots = 4096;  // about 65 s; what lies beyond is looked at once per round

  explicit DeadlineWheel(Slab<Exchange>& exchanges) : exchanges_(exchanges) { heads_.fill(UINT32_MAX); }

  void set(uint32_t index, TimePoint due);
  void clear(uint32_t index);
  bool empty() const { return size_ == 0; }
  // Calls f(index) for each entry due at `now`, which was taken out before.
  template <class F>
  void advance(TimePoint now, F&& f);

 private:
  Exchange& at(uint32_t index) { return *exchanges_.resolve(exchanges_.at(index)); }
  static uint64_t tick_of(TimePoint t) { return static_cast<uint64_t>(t.time_since_epoch() / kSlot); }

  Slab<Exchange>& exchanges_;
  std::array<uint32_t, kSlots> heads_;
  size_t size_ = 0;
  uint64_t tick_ = 0;  // slots before this one were visited
};

inline void DeadlineWheel::set(uint32_t index, TimePoint due) {
  Exchange& e = at(index);
  if (e.wheel_slot != UINT16_MAX) clear(index);
  uint64_t tick = tick_of(due) + 1;
  if (tick < tick_) tick = tick_;
  e.wheel_due = due;
  e.wheel_slot = static_cast<uint16_t>(tick % kSlots);
  e.wheel_previous = UINT32_MAX;
  e.wheel_next = heads_[e.wheel_slot];
  if (e.wheel_next != UINT32_MAX) at(e.wheel_next).wheel_previous = index;
  heads_[e.wheel_slot] = index;
  ++size_;
}

inline void DeadlineWheel::clear(uint32_t index) {
  Exchange& e = at(index);
  if (e.wheel_slot == UINT16_MAX) return;
  if (e.wheel_previous != UINT32_MAX) {
    at(e.wheel_previous).wheel_next = e.wheel_next;
  } else {
    heads_[e.wheel_slot] = e.wheel_next;
  }
  if (e.wheel_next != UINT32_MAX) at(e.wheel_next).wheel_previous = e.wheel_previous;
  e.wheel_slot = UINT16_MAX;
  --size_;
}

template <class F>
void DeadlineWheel::advance(TimePoint now, F&& f) {
  uint64_t now_tick = tick_of(now);
  if (tick_ == 0 || now_tick - tick_ > kSlots) tick_ = now_tick > kSlots ? now_tick - kSlots : 1;
  for (; tick_ <= now_tick; ++tick_) {
    uint32_t index = heads_[tick_ % kSlots];
    while (index != UINT32_MAX) {
      uint32_t next = at(index).wheel_next;
      if (at(index).wheel_due <= now) {
        clear(index);
        f(index);  // may end this exchange, never another one
      }
      index = next;
    }
  }
}

}  // namespace weir::proxy
