// Which of a worker's open streams come first, and how fast they are: what `weir top` shows.
//
// The streams are looked at in slices, one per turn, so that a report over a hundred thousand of them delays nobody.
// Rates are differences to the report before; the samples for that are kept only while reports are asked for.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "model/link.h"

namespace weir::proxy {

// The larger, the further up in `order`.
uint64_t order_value(model::StreamOrder order, const model::StreamRow& row);
// Sorts, drops what stands before `skip` and behind `limit`.
void arrange(std::vector<model::StreamRow>& rows, model::StreamOrder order, uint32_t skip, uint32_t limit);

// The rows with the largest values so far, at most `most` of them.
class TopRows {
 public:
  explicit TopRows(uint32_t most) : most_(most) {}
  // Whether a row with this value would stay: worth filling in its texts.
  bool takes(uint64_t value) const { return most_ > 0 && (heap_.size() < most_ || value > heap_.front().value); }
  void add(uint64_t value, model::StreamRow row);
  std::vector<model::StreamRow> take();

 private:
  struct Entry {
    uint64_t value;
    model::StreamRow row;
  };
  uint32_t most_;
  std::vector<Entry> heap_;  // the smallest in front
};

// Fills in the rates of a stream, by the slot and generation of its record.
class RateSamples {
 public:
  void fill(uint32_t number, uint32_t generation, TimePoint now, model::StreamRow& row);
  // Gives the memory back when nobody has asked for half a minute.
  void tick(TimePoint now);

 private:
  struct Sample {
    uint32_t generation = 0;
    TimePoint at{};
    uint64_t request_messages = 0;
    uint64_t response_messages = 0;
    uint64_t bytes = 0;
    uint64_t request_rate = 0, response_rate = 0, byte_rate = 0;  // as last worked out
  };
  std::vector<Sample> samples_;
  TimePoint asked_{};
};

// One report on its way.
struct StreamScan {
  StreamScan(const model::StreamsRequest& what, std::move_only_function<void(model::Streams)> tell)
      : request(what), done(std::move(tell)), rows(what.skip + what.limit) {}
  model::StreamsRequest request;
  std::move_only_function<void(model::Streams)> done;
  TopRows rows;
  uint32_t next = 0;  // number of an exchange
  uint64_t open = 0;
};

}  // namespace weir::proxy
