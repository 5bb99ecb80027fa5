// The flight recorder's ring: the last frame headers that a worker's connections received and wrote. Sixteen bytes
// for each; noting one costs a few instructions. One thread.
#pragma once

#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "http/h2/frame.h"

namespace weir::http::h2 {

// The nine bytes of the header as they are on the wire, but that the reserved bit tells who wrote them. The
// microseconds wrap after 71 minutes, the connection's number after 16 million connections.
struct TracedFrame {
  uint64_t head;                   // the first eight bytes
  uint32_t micros;
  uint32_t connection_and_byte;    // 24 bits; the ninth byte
  uint32_t connection() const { return connection_and_byte >> 8; }
  FrameHeader header() const {
    uint8_t bytes[kFrameHeaderBytes];
    std::memcpy(bytes, &head, sizeof head);
    bytes[8] = static_cast<uint8_t>(connection_and_byte);
    return read_frame_header(bytes);
  }
  FrameType type() const { return header().type; }
  uint32_t length() const { return header().length; }
  uint8_t flags() const { return header().flags; }
  uint32_t stream() const { return header().stream_id; }
  bool written() const { return (head & kWritten) != 0; }

  static constexpr uint64_t kWritten = uint64_t{0x80} << 40;  // the reserved bit: the top one of the sixth byte
};
static_assert(sizeof(TracedFrame) == 16);

class FrameTrace {
 public:
  static constexpr uint32_t kFrames = 64u << 10;

  // Off: notes nothing and gives the memory back.
  void enable(bool on) {
    if (on && frames_ == nullptr) frames_.reset(new TracedFrame[kFrames]());
    if (!on) frames_.reset();
    if (on == (next_ != nullptr)) return;
    next_ = frames_.get();
    end_ = next_ + (on ? kFrames : 0);
    rounds_ = 0;
  }
  bool enabled() const { return frames_ != nullptr; }
  // The time that the frames to come are noted with.
  void set_now(TimePoint now) { micros_ = micros_of(now); }
  static uint32_t micros_of(TimePoint t) { return static_cast<uint32_t>(t.time_since_epoch().count() / 1000); }
  uint32_t new_connection() { return ++connections_ & 0xffffff; }

  // `place`: the connection's number where TracedFrame has it. `header`: its nine bytes.
  static constexpr uint32_t place_of(uint32_t connection) { return connection << 8; }
  [[gnu::always_inline]] void received(uint32_t place, const uint8_t* header) { note(place, header, 0); }
  [[gnu::always_inline]] void wrote(uint32_t place, const uint8_t* header) {
    note(place, header, TracedFrame::kWritten);
  }

  // The latest, oldest first: f(frame), at most `most` of them.
  template <class F>
  void for_each(uint64_t most, F&& f) const {
    if (frames_ == nullptr) return;
    uint64_t count = noted() < kFrames ? noted() : kFrames;
    if (count > most) count = most;
    for (uint64_t i = noted() - count; i < noted(); ++i) f(frames_[i % kFrames]);
  }
  uint64_t noted() const { return rounds_ * kFrames + static_cast<uint64_t>(next_ - frames_.get()); }

 private:
  [[gnu::always_inline]] void note(uint32_t place, const uint8_t* header, uint64_t direction) {
    if (next_ == nullptr) return;
    uint64_t head;
    std::memcpy(&head, header, sizeof head);
    *next_ = {(head & ~TracedFrame::kWritten) | direction, micros_, place | header[8]};
    if (++next_ == end_) [[unlikely]] wrap();
  }
  [[gnu::noinline]] void wrap() {
    next_ = frames_.get();
    ++rounds_;
  }

  std::unique_ptr<TracedFrame[]> frames_;
  TracedFrame* next_ = nullptr;  // null: off
  TracedFrame* end_ = nullptr;
  uint64_t rounds_ = 0;
  uint32_t micros_ = 0;
  uint32_t connections_ = 0;
};

}  // namespace weir::http::h2
