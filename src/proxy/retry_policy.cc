#include "proxy/retry_policy.h"

#include <algorithm>
#include <charconv>

namespace weir::proxy {

bool RetryBudget::take(TimePoint now) {
  advance(now);
  uint64_t allowed = percent_ == 0 ? 0 : std::max<uint64_t>(floor_, requests_ * percent_ / 100);
  if (retries_ >= allowed) return false;
  ++seconds_[at_].retries;
  ++retries_;
  return true;
}

void RetryBudget::roll(TimePoint now) {
  constexpr Duration kSecond = std::chrono::seconds(1);
  if (now - next_ >= kSeconds * kSecond) {  // nothing of the last ten seconds is left
    for (Second& s : seconds_) s = {};
    requests_ = retries_ = 0;
    next_ = now + kSecond;
    return;
  }
  while (now >= next_) {
    at_ = (at_ + 1) % kSeconds;
    requests_ -= seconds_[at_].requests;
    retries_ -= seconds_[at_].retries;
    seconds_[at_] = {};
    next_ += kSecond;
  }
}

std::optional<Duration> parse_pushback(std::string_view value) {
  int64_t ms = 0;
  auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), ms);
  if (error != std::errc() || end != value.data() + value.size() || ms < 0 || ms > INT32_MAX) return std::nullopt;
  return std::chrono::milliseconds(ms);
}

}  // namespace weir::proxy
