#include "proxy/stream_report.h"

#include <algorithm>

namespace weir::proxy {

namespace {
constexpr Duration kSampleAgeMin = std::chrono::milliseconds(500);
constexpr Duration kSamplesKept = std::chrono::seconds(30);

uint64_t per(uint64_t count, Duration time, uint64_t seconds) {
  auto micros = static_cast<uint64_t>(std::max<int64_t>(time.count() / 1000, 1000));  // of a new stream: no spike
  return static_cast<uint64_t>(static_cast<unsigned __int128>(count) * seconds * 1'000'000 / micros);
}
}  // namespace

uint64_t order_value(model::StreamOrder order, const model::StreamRow& row) {
  switch (order) {
    case model::StreamOrder::Rate: return row.request_rate + row.response_rate;
    case model::StreamOrder::Bytes: return row.byte_rate;
    case model::StreamOrder::Messages: return row.request_messages + row.response_messages;
    case model::StreamOrder::Age: return row.age_ms;
    case model::StreamOrder::Idle: return row.idle_ms;
    case model::StreamOrder::Blocked: return row.waiting_bytes;
  }
  return 0;
}

void arrange(std::vector<model::StreamRow>& rows, model::StreamOrder order, uint32_t skip, uint32_t limit) {
  std::sort(rows.begin(), rows.end(), [order](const model::StreamRow& a, const model::StreamRow& b) {
    uint64_t first = order_value(order, a);
    uint64_t second = order_value(order, b);
    return first != second ? first > second : a.key < b.key;
  });
  rows.erase(rows.begin(), rows.begin() + static_cast<ptrdiff_t>(std::min<size_t>(skip, rows.size())));
  if (rows.size() > limit) rows.resize(limit);
}

void TopRows::add(uint64_t value, model::StreamRow row) {
  auto less = [](const Entry& a, const Entry& b) { return a.value > b.value; };
  if (heap_.size() == most_) {
    std::pop_heap(heap_.begin(), heap_.end(), less);
    heap_.pop_back();
  }
  heap_.push_back({value, std::move(row)});
  std::push_heap(heap_.begin(), heap_.end(), less);
}

std::vector<model::StreamRow> TopRows::take() {
  std::vector<model::StreamRow> rows;
  for (Entry& e : heap_) rows.push_back(std::move(e.row));
  heap_.clear();
  return rows;
}

void RateSamples::fill(uint32_t number, uint32_t generation, TimePoint now, model::StreamRow& row) {
  asked_ = now;
  if (number >= samples_.size()) samples_.resize(number + number / 2 + 64);
  Sample& s = samples_[number];
  bool fresh = s.generation != generation;  // not seen before: the mean over its life
  if (fresh) s = {generation, now - std::chrono::milliseconds(row.age_ms), 0, 0, 0, 0, 0, 0};
  Duration passed = now - s.at;
  uint64_t bytes = row.request_bytes + row.response_bytes;
  bool due = fresh || passed >= kSampleAgeMin;
  if (due) {
    s.request_rate = per(row.request_messages - s.request_messages, passed, 1000);
    s.response_rate = per(row.response_messages - s.response_messages, passed, 1000);
    s.byte_rate = per(bytes - s.bytes, passed, 1);
  }
  row.request_rate = s.request_rate;
  row.response_rate = s.response_rate;
  row.byte_rate = s.byte_rate;
  if (!due) return;
  s.at = now;
  s.request_messages = row.request_messages;
  s.response_messages = row.response_messages;
  s.bytes = bytes;
}

void RateSamples::tick(TimePoint now) {
  if (!samples_.empty() && now - asked_ > kSamplesKept) std::vector<Sample>().swap(samples_);
}

}  // namespace weir::proxy
