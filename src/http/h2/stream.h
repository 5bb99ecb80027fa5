// One HTTP/2 stream as its connection sees it, and the table that finds it by id.
//
//                    local END_STREAM
//        Open ───────────────────────────▶ HalfClosedLocal
//          │ remote END_STREAM                    │ remote END_STREAM
//          ▼                 local END_STREAM     ▼
//   HalfClosedRemote ──────────────────────▶  Closed  ◀── RST_STREAM from anywhere
//
// (RFC 9113 §5.1. Idle streams have no record, reserved ones do not exist: push is off.)
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/slab.h"

namespace weir::http::h2 {

enum class StreamState : uint8_t { Open, HalfClosedLocal, HalfClosedRemote, Closed };
enum class StreamEvent : uint8_t { LocalEnd, RemoteEnd, Reset };

// The transition table; Closed absorbs everything.
constexpr StreamState next_state(StreamState state, StreamEvent event) {
  constexpr StreamState kTable[4][3] = {
      // LocalEnd                       RemoteEnd                       Reset
      {StreamState::HalfClosedLocal, StreamState::HalfClosedRemote, StreamState::Closed},  // Open
      {StreamState::HalfClosedLocal, StreamState::Closed, StreamState::Closed},            // HalfClosedLocal
      {StreamState::Closed, StreamState::HalfClosedRemote, StreamState::Closed},           // HalfClosedRemote
      {StreamState::Closed, StreamState::Closed, StreamState::Closed},                     // Closed
  };
  return kTable[static_cast<int>(state)][static_cast<int>(event)];
}

// What could not be written yet: body bytes behind a closed window, and what follows them.
struct PendingOutput {
  explicit PendingOutput(BufferPool& pool) : data(pool), trailers(pool) {}
  Buffer data;
  Buffer trailers;           // packed fields (packed_fields.h), empty when there are none
  TimePoint watched_since{};  // see Connection::for_each_stalled()
  size_t drained = 0;         // bytes the peer took since then
  bool has_trailers = false;
  bool end_stream = false;   // END_STREAM goes with the last byte (or with the trailers)
};

struct Stream {
  uint32_t id = 0;
  StreamState state = StreamState::Open;
  bool head_received = false;     // the sink has the head of the message; the next HEADERS are trailers
  bool head_sent = false;         // HEADERS went out: the peer knows the stream
  bool queued = false;            // stands in the connection's list of blocked streams
  bool reset_after_end = false;   // see Connection::reset_after_end()
  bool expects_no_body = false;   // response to HEAD, or status 204/304: content-length is not checked
  int32_t send_window = 0;        // may be negative after a SETTINGS change (RFC 9113 §6.9.2)
  int32_t receive_window = 0;     // what the peer may still send
  uint32_t receive_unreturned = 0;// consumed bytes not yet given back
  int64_t content_left = -1;      // of the announced content-length; -1: none announced
  uint64_t user = 0;              // the owner's: packed handle of the exchange
  std::unique_ptr<PendingOutput> pending;

  bool may_send() const { return state == StreamState::Open || state == StreamState::HalfClosedRemote; }
  bool may_receive() const { return state == StreamState::Open || state == StreamState::HalfClosedLocal; }
};

using StreamPool = Slab<Stream>;
using StreamHandle = Handle<Stream>;

// id → slab index. A stream has its place by its id, since neighbouring ids are open together; where that place is
// taken, by a stream that is much older or because a peer leaves ids out, it goes into a hash table beside.
class StreamTable {
 public:
  StreamTable() = default;
  StreamTable(const StreamTable&) = delete;  // `slots_` points into it
  StreamTable& operator=(const StreamTable&) = delete;
  uint32_t find(uint32_t id) const {  // UINT32_MAX: not there
    const Slot& s = slots_[home(id)];
    if (s.id == id) [[likely]] return s.index;
    return others_size_ == 0 ? UINT32_MAX : find_other(id);
  }
  void insert(uint32_t id, uint32_t index) {
    if (size_ >= size_max_) [[unlikely]] resize();
    ++size_;
    Slot& s = slots_[home(id)];
    if (s.id != 0) [[unlikely]] return insert_other(id, index);
    s = {id, index};
  }
  void erase(uint32_t id) {
    Slot& s = slots_[home(id)];
    if (s.id != id) [[unlikely]] return erase_other(id);
    s = {};
    --size_;
  }
  size_t size() const { return size_; }
  template <class F>
  void for_each(F&& f) const {  // f(id, index); the table must not change meanwhile
    for (const auto* slots : {&own_, &others_}) {
      for (const Slot& s : *slots) {
        if (s.id != 0) f(s.id, s.index);
      }
    }
  }

 private:
  struct Slot {
    uint32_t id;  // 0: free
    uint32_t index;
  };
  // No stream has the id 0, so what stands here is never looked for; nothing is written before there are own slots.
  static inline Slot none_{};

  size_t home(uint32_t id) const { return (id >> 1) & mask_; }  // all ids of a side are odd, or all even
  void resize();
  // The others: open addressing. The hash keeps the runs short, whatever ids a peer chooses.
  size_t other_home(uint32_t id) const { return (id * 0x9E3779B9u) >> others_shift_; }  // golden ratio
  uint32_t find_other(uint32_t id) const;
  void insert_other(uint32_t id, uint32_t index);
  void erase_other(uint32_t id);
  void resize_others(size_t slots);

  Slot* slots_ = &none_;
  uint32_t mask_ = 0;
  uint32_t size_ = 0;
  uint32_t size_max_ = 0;  // then it grows: half of the slots
  uint32_t others_size_ = 0;
  uint32_t others_shift_ = 0;  // 32 - log2(slots)
  std::vector<Slot> own_;
  std::vector<Slot> others_;
};

}  // namespace weir::http::h2
