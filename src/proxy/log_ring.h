// Records on their way from one worker to the writer of logs: a ring of bytes with one producer and one consumer.
//
// The producer appends during a turn and hands everything over at its end, with one store; it never waits. A record
// that finds no room is lost and counted. Memory is touched only as it is used.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>

namespace weir::proxy {

class LogRing {
 public:
  static constexpr uint32_t kBytes = 4u << 20;
  static constexpr uint32_t kWakeBytes = kBytes / 4;  // as much waits: the writer is woken
  static constexpr uint32_t kRecordBytesMax = 64u << 10;

  LogRing() : bytes_(new uint8_t[kBytes]) {}

  // --- producer ------------------------------------------------------------------------------------------
  // Room for one record, `size` a multiple of 8 and at most kRecordBytesMax; nullptr: lost, and counted. Records
  // stand in one piece.
  uint8_t* reserve(uint32_t size) {
    uint32_t at = static_cast<uint32_t>(written_ % kBytes);
    uint32_t skip = at + size > kBytes ? kBytes - at : 0;
    if (written_ + skip + size - read_seen_ > kBytes) {
      read_seen_ = read_.load(std::memory_order_acquire);
      if (written_ + skip + size - read_seen_ > kBytes) {
        lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        return nullptr;
      }
    }
    if (skip > 0) {
      std::memset(bytes_.get() + at, 0, sizeof(uint32_t));  // a record of size 0: go on at the start
      written_ += skip;
      at = 0;
    }
    written_ += size;
    return bytes_.get() + at;
  }
  // At the end of the turn. True when so much waits that the writer should be woken.
  bool publish() {
    if (written_ == published_) return false;
    published_ = written_;
    shared_written_.store(written_, std::memory_order_release);
    return written_ - read_.load(std::memory_order_relaxed) >= kWakeBytes;
  }

  // --- consumer ------------------------------------------------------------------------------------------
  // Calls f(record) for everything handed over; each begins with its size in a uint32_t.
  template <class F>
  void drain(F&& f) {
    uint64_t until = shared_written_.load(std::memory_order_acquire);
    uint64_t at = read_.load(std::memory_order_relaxed);
    while (at < until) {
      const uint8_t* record = bytes_.get() + at % kBytes;
      uint32_t size = 0;
      std::memcpy(&size, record, sizeof size);
      if (size == 0) {
        at += kBytes - at % kBytes;
        continue;
      }
      f(record);
      at += size;
      read_.store(at, std::memory_order_release);
    }
    read_.store(at, std::memory_order_release);
  }

  // Any thread.
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  std::unique_ptr<uint8_t[]> bytes_;
  uint64_t written_ = 0;
  uint64_t published_ = 0;
  uint64_t read_seen_ = 0;
  alignas(64) std::atomic<uint64_t> shared_written_{0};
  std::atomic<uint64_t> lost_{0};
  alignas(64) std::atomic<uint64_t> read_{0};
};

}  // namespace weir::proxy
