#include "sim/plan.h"

#include <algorithm>
#include <cstring>

namespace weir::sim {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

bool chance(Random& random, uint32_t percent) { return random.below(100) < percent; }

// What a group or a listener may be told to do; `m` has the workload already.
void draw_groups(Mix& m, Random& random) {
  for (bool& tls : m.target_tls) tls = chance(random, 25);
  m.rate_placement = chance(random, 15);
  if (chance(random, 25)) m.group_idle_ms = !m.hangs && chance(random, 40) ? 0 : 2500;
  if (chance(random, 35)) {
    m.retry_codes = 1u << 14 | 1u << random.below(17);
    m.retry_attempts_max = static_cast<uint32_t>(1 + random.below(5));
    m.retry_budget_percent = chance(random, 15) ? 0 : static_cast<uint32_t>(1 + random.below(100));
    m.retry_storm = chance(random, 30);
  }
  m.outliers = chance(random, 25);
  m.outlier_failures = static_cast<uint32_t>(1 + random.below(5));
  m.outlier_ms = static_cast<uint32_t>(200 + random.below(2000));
  if (m.algorithm == 2) m.anomalies = chance(random, 60);
  if (m.algorithm == 0 && chance(random, 30)) m.slow_start_ms = static_cast<uint32_t>(1000 + random.below(4000));
  m.rebalancing = chance(random, 25);
  m.rebalance_age_ms = static_cast<uint32_t>(random.below(2000));
  m.rebalance_per_s = static_cast<uint32_t>(1 + random.below(50));
  m.long_streams = chance(random, m.rebalancing ? 80 : 10);
  m.spread = m.long_streams || chance(random, m.outliers || m.anomalies || m.slow_start_ms > 0 ? 70 : 15);
  if (m.anomalies || m.outliers) m.targets += 2;
}

void draw_balancer(Mix& m, Random& random) {
  m.adaptive_windows = chance(random, 50);
  m.stream_window_bytes_max = m.stream_window_bytes << random.below(5);
  m.tight_memory = chance(random, 12);
  if (m.tight_memory) m.buffered_bytes_max = (256u << 10) << random.below(4);
  m.access_log = chance(random, 80);
  m.rules = chance(random, 40);
  m.watch = chance(random, 40);
  m.settings_churn = chance(random, 25);
  if (chance(random, 20)) m.drain_ms = static_cast<uint32_t>(300 + random.below(3000));
  m.drain_whole = m.drain_ms < 300000 && chance(random, 30);
  if (chance(random, 20)) m.requests_per_connection = static_cast<uint32_t>(1 + random.below(40));
  if (chance(random, 30)) m.connections_per_target = static_cast<int>(1 + random.below(3));
  m.few_streams = chance(random, 15);
  m.large_heads = chance(random, 25);
  if (chance(random, 15)) m.slow_reader_ms = static_cast<uint32_t>(2000 + random.below(3000));
}

void draw_world(Mix& m, Random& random) {
  m.odd_io = chance(random, 40);
  m.churn = chance(random, 40);
  m.goaways = chance(random, 25);
  m.health_flaps = chance(random, 25);
  m.drain_balancer = chance(random, 10);
  m.latency = microseconds(random.below(4) == 0 ? random.below(20000) : random.below(500));
  m.turn_delay_max = microseconds(1 + (chance(random, 30) ? random.below(5000) : random.below(200)));
  if (chance(random, 50)) return;  // calm
  m.target_crashes = chance(random, 40);
  m.target_silence = chance(random, 20);
  m.target_cuts = chance(random, 40);
  m.client_cuts = chance(random, 40);
  m.tls_failures = chance(random, 40);
}

// A long path, and messages that fill it: windows grow.
void make_wide(Mix& m, Random& random) {
  m.odd_io = m.small_peer_windows = m.tight_memory = false;
  m.buffered_bytes_max = 512u << 20;
  m.large = m.streams = m.wide = true;
  m.latency = microseconds(5000 + random.below(15000));
  m.stream_window_bytes = 65536;
  m.connection_window_bytes = 1u << 20;
  m.stream_window_bytes_max = 65536u << (1 + random.below(5));
  m.calls = std::min(m.calls, 40);
}

}  // namespace

Mix Mix::draw(Random& random) {
  Mix m;
  m.workers = chance(random, 30) ? 2 : 1;
  m.tls = chance(random, 40);
  m.client_streams_max = chance(random, 30) ? static_cast<uint32_t>(1 + random.below(8)) : 128;
  m.stream_window_bytes = chance(random, 50) ? 65536u << random.below(4) : 256u << 10;
  m.connection_window_bytes = m.stream_window_bytes * static_cast<uint32_t>(1 + random.below(4));
  m.idle_timeout_ms = chance(random, 30) ? 3000 : 20000;
  m.keep_alive_ms = chance(random, 15) ? 2000 + static_cast<uint32_t>(random.below(5000)) : 3600000;
  m.algorithm = static_cast<uint8_t>(random.below(3));
  m.clients = static_cast<int>(1 + random.below(5));
  m.targets = static_cast<int>(1 + random.below(4));
  m.calls = static_cast<int>(40 + random.below(120));
  m.concurrent = static_cast<int>(1 + random.below(chance(random, 20) ? 40 : 10));
  m.large = chance(random, 35);
  m.streams = chance(random, 80);
  m.cancels = chance(random, 40);
  m.deadlines = chance(random, 40);
  m.hangs = chance(random, 20);
  m.server_errors = chance(random, 50);
  m.server_resets = chance(random, 30);
  m.refusals = chance(random, 30);
  m.slow_readers = chance(random, 40);
  m.small_peer_windows = chance(random, 30);
  m.setting_changes = chance(random, 30);
  m.pings = chance(random, 20);
  draw_groups(m, random);
  draw_balancer(m, random);
  draw_world(m, random);
  if (m.adaptive_windows && chance(random, 25)) make_wide(m, random);
  for (bool& http2 : m.http2) http2 = chance(random, 20);
  m.strict = chance(random, 15);
  m.listener_gaps = chance(random, 12);
  return m;
}

uint32_t Mix::idle_ms_min() const {
  return std::min(idle_timeout_ms, group_idle_ms == 0 ? UINT32_MAX : group_idle_ms);
}

std::string Mix::text() const {
  std::string s;
  auto number = [&s](const char* name, uint64_t value) {
    s += std::string(s.empty() ? "" : " ") + name + "=" + std::to_string(value);
  };
  auto flag = [&s](const char* name, bool on) {
    if (on) s += std::string(" ") + name;
  };
  number("workers", static_cast<uint64_t>(workers)), number("clients", static_cast<uint64_t>(clients));
  number("targets", static_cast<uint64_t>(targets)), number("calls", static_cast<uint64_t>(calls));
  number("concurrent", static_cast<uint64_t>(concurrent)), number("streams_max", client_streams_max);
  number("stream_window", stream_window_bytes), number("connection_window", connection_window_bytes);
  number("idle_ms", idle_timeout_ms), number("group_idle_ms", group_idle_ms), number("keep_alive_ms", keep_alive_ms);
  number("slow_reader_ms", slow_reader_ms), number("algorithm", algorithm);
  number("drain_ms", drain_ms), number("per_target", static_cast<uint64_t>(connections_per_target));
  if (requests_per_connection > 0) number("per_connection", requests_per_connection);
  number("latency_us", static_cast<uint64_t>(latency.count() / 1000));
  number("turn_us", static_cast<uint64_t>(turn_delay_max.count() / 1000));
  if (retry_codes != 0) {
    number("retry_codes", retry_codes), number("retry_attempts", retry_attempts_max);
    number("retry_percent", retry_budget_percent);
  }
  if (outliers) number("outlier_failures", outlier_failures), number("outlier_ms", outlier_ms);
  if (rebalancing) number("rebalance_age_ms", rebalance_age_ms), number("rebalance_per_s", rebalance_per_s);
  if (slow_start_ms > 0) number("slow_start_ms", slow_start_ms);
  if (adaptive_windows) number("stream_window_max", stream_window_bytes_max);
  if (tight_memory) number("buffered_max", buffered_bytes_max);
  flag("tls", tls), flag("target_tls_one", target_tls[0]), flag("target_tls_two", target_tls[1]);
  flag("http2_one", http2[0]), flag("http2_two", http2[1]);
  flag("access_log", access_log), flag("rate_placement", rate_placement), flag("anomalies", anomalies);
  flag("rules", rules), flag("watch", watch), flag("spread", spread), flag("long_streams", long_streams);
  flag("retry_storm", retry_storm), flag("large", large), flag("streams", streams), flag("cancels", cancels);
  flag("deadlines", deadlines), flag("hangs", hangs), flag("server_errors", server_errors);
  flag("server_resets", server_resets), flag("refusals", refusals), flag("slow_readers", slow_readers);
  flag("small_peer_windows", small_peer_windows), flag("setting_changes", setting_changes), flag("pings", pings);
  flag("wide", wide), flag("few_streams", few_streams), flag("large_heads", large_heads), flag("drain_whole", drain_whole);
  flag("odd_io", odd_io), flag("churn", churn), flag("settings_churn", settings_churn), flag("goaways", goaways);
  flag("health_flaps", health_flaps), flag("drain_balancer", drain_balancer), flag("target_crashes", target_crashes);
  flag("target_silence", target_silence), flag("target_cuts", target_cuts), flag("client_cuts", client_cuts);
  flag("tls_failures", tls_failures), flag("strict", strict), flag("listener_gaps", listener_gaps);
  return s;
}

namespace {

void draw_failures(Plan& p, const Mix& mix, Random& random) {
  if (mix.retry_codes == 0 || !chance(random, mix.retry_storm ? 85 : 25)) return;
  p.failures = static_cast<int>(1 + random.below(mix.retry_storm ? 5 : 3));
  p.failure_status = 14;
  p.refused_late = p.refusals > 0 && chance(random, 50);
  if (chance(random, 30)) p.failure_status = static_cast<int>(1 + random.below(16));
  if (!chance(random, 25)) return;
  static constexpr const char* kPushbacks[] = {"0", "20", "700", "-1", "soon", "60001", "99999999999"};
  p.pushback = kPushbacks[random.below(std::size(kPushbacks))];
}

// A message now and then, each way, for seconds.
void make_long(Plan& p, const Mix& mix, Random& random) {
  p.messages[0] = p.messages[1] = static_cast<uint32_t>(10 + random.below(40));
  p.interleaved = true;
  p.eager = false;
  // Those that are moved have messages in pieces.
  p.size_class = mix.rebalancing && !mix.odd_io && chance(random, 50) ? 1 : 0;
  p.pace = milliseconds(20 + random.below(300));
}

}  // namespace

Plan Plan::draw(uint64_t id, const Mix& mix, Random& random) {
  Plan p;
  p.id = id;
  if (mix.streams && chance(random, 60)) {
    p.messages[0] = static_cast<uint32_t>(random.below(12));
    p.messages[1] = static_cast<uint32_t>(random.below(12));
    p.interleaved = chance(random, 40);
    p.eager = !p.interleaved && chance(random, 40);
  }
  p.size_class = !mix.large ? (chance(random, 20) ? 1 : 0) : static_cast<uint8_t>(random.below(3));
  if (mix.server_errors && chance(random, 40)) {
    p.grpc_status = static_cast<int>(random.below(17));
    p.fate = chance(random, 50) ? Fate::Finish : chance(random, 50) ? Fate::TrailersOnly : Fate::Early;
    if (p.fate == Fate::TrailersOnly && p.grpc_status == 0) p.grpc_status = 5;
  }
  if (mix.server_resets && chance(random, 15)) {
    static constexpr uint32_t kCodes[] = {1, 2, 8, 11, 0};  // PROTOCOL, INTERNAL, CANCEL, ENHANCE_YOUR_CALM, NO_ERROR
    p.fate = Fate::Reset;
    p.reset_code = kCodes[random.below(5)];
  }
  if (mix.wide && chance(random, 50)) p.size_class = 2;
  if (p.size_class == 2 && mix.odd_io) p.size_class = 1;  // slow enough
  if (mix.hangs && chance(random, 8)) p.fate = Fate::Hang;
  p.stop_after = p.messages[1] == 0 ? 0 : static_cast<uint32_t>(random.below(p.messages[1]));
  if (mix.refusals && chance(random, 25)) p.refusals = chance(random, 20) ? 99 : static_cast<int>(1 + random.below(3));
  if (mix.deadlines && chance(random, 40)) p.deadline = milliseconds(1 + random.below(chance(random, 50) ? 60 : 4000));
  if (mix.cancels && chance(random, 25)) {
    p.cancel_after = microseconds(random.below(chance(random, 50) ? 3000 : 400000));
  }
  for (bool& slow : p.slow_reader) slow = mix.slow_readers && chance(random, 25);
  for (uint32_t& bytes : p.head_bytes) {
    if (mix.large_heads && chance(random, 40)) bytes = 1 + static_cast<uint32_t>(random.below(chance(random, 20) ? 12000 : 300));
  }
  draw_failures(p, mix, random);
  if (mix.long_streams && chance(random, 35)) make_long(p, mix, random);
  return p;
}

std::string Plan::text() const {
  static constexpr const char* kFates[] = {"finish", "trailers_only", "early", "reset", "hang"};
  std::string s = std::string(kFates[static_cast<int>(fate)]) + " status=" + std::to_string(grpc_status) +
                  " messages=" + std::to_string(messages[0]) + "/" + std::to_string(messages[1]) +
                  " size_class=" + std::to_string(size_class) + (interleaved ? " interleaved" : "") +
                  (eager ? " eager" : "") + " stop_after=" + std::to_string(stop_after) +
                  " refusals=" + std::to_string(refusals) + (refused_late ? " late" : "");
  if (failures > 0) s += " failures=" + std::to_string(failures) + "/" + std::to_string(failure_status);
  if (!pushback.empty()) s += " pushback=" + pushback;
  if (pace > Duration::zero()) s += " pace_ms=" + std::to_string(pace.count() / 1000000);
  if (fate == Fate::Reset) s += " code=" + std::to_string(reset_code);
  if (deadline) s += " deadline_ms=" + std::to_string(deadline->count() / 1000000);
  if (cancel_after) s += " cancel_us=" + std::to_string(cancel_after->count() / 1000);
  if (slow_reader[0]) s += " slow_request_reader";
  if (slow_reader[1]) s += " slow_response_reader";
  return s;
}

// A third of the calls share a few values, which HPACK may index.
std::string Plan::metadata(Direction direction) const {
  uint64_t key = id % 3 == 0 ? id % 4 : id;
  size_t size = id % 3 == 0 ? 40 : head_bytes[static_cast<int>(direction)];
  Random letters(key * 0x9E3779B97F4A7C15ull + static_cast<uint64_t>(direction));
  std::string out(size, 'a');
  for (char& c : out) c = static_cast<char>('a' + letters.below(26));
  return out;
}

std::optional<int64_t> Plan::pushback_ms() const {
  if (pushback.empty() || pushback.size() > 6) return std::nullopt;
  if (!std::all_of(pushback.begin(), pushback.end(), [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
  int64_t ms = std::stoll(pushback);
  return ms <= 60000 ? std::optional(ms) : std::nullopt;
}

void MessageStream::make_next() {
  static constexpr size_t kMax[] = {200, 20000, 200000};
  Random bytes(plan_->id * 0x9E3779B97F4A7C15ull + (uint64_t{next_} << 1 | static_cast<uint64_t>(direction_)));
  size_t size = bytes.below(kMax[plan_->size_class] + 1);
  current_.resize(5 + size);
  current_[0] = 0;
  for (int i = 0; i < 4; ++i) current_[1 + static_cast<size_t>(i)] = static_cast<char>(size >> (24 - 8 * i));
  for (size_t at = 5; at < current_.size(); at += 8) {
    uint64_t word = bytes.next();
    std::memcpy(current_.data() + at, &word, std::min<size_t>(8, current_.size() - at));
  }
  offset_ = 0;
  ++next_;
}

size_t MessageStream::read(char* out, size_t size, uint32_t messages) {
  size_t done = 0;
  messages = std::min(messages, plan_->messages[static_cast<int>(direction_)]);
  while (done < size) {
    if (offset_ == current_.size()) {
      if (next_ >= messages) break;
      make_next();
    }
    size_t n = std::min(size - done, current_.size() - offset_);
    std::memcpy(out + done, current_.data() + offset_, n);
    offset_ += n;
    done += n;
  }
  return done;
}

bool MessageStream::accept(std::string_view bytes) {
  while (!bytes.empty()) {
    if (offset_ == current_.size()) {
      if (next_ == plan_->messages[static_cast<int>(direction_)]) return false;
      make_next();
    }
    size_t n = std::min(bytes.size(), current_.size() - offset_);
    if (std::memcmp(bytes.data(), current_.data() + offset_, n) != 0) return false;
    offset_ += n;
    bytes.remove_prefix(n);
  }
  return true;
}

}  // namespace weir::sim
