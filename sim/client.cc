#include "sim/client.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace weir::sim {

namespace {
using std::chrono::microseconds;
}

Lane ClientConnection::lane_of(uint64_t id, const Mix& mix) {
  if (mix.rules && id % 11 == 0) return Lane::Fixed;
  if (mix.rules && id % 5 == 0) return Lane::Header;
  return id % 3 == 0 ? Lane::Other : Lane::Default;
}

ClientConnection::ClientConnection(Stage& stage, int fd, Channel::Security security, std::string name)
    : H2Endpoint(stage, fd, Role::Client, security) {
  name_ = std::move(name);
  begin(draw_window());
}

bool ClientConnection::start_call(uint64_t id) {
  if (!usable() || !settings_received_) return false;
  uint32_t limit = nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  if (streams_.size() >= limit) return false;
  Call& call = stage_.ledger.start(Plan::draw(id, stage_.mix, stage_.random), stage_.now());
  call.lane = lane_of(id, stage_.mix);
  std::string number = std::to_string(id);
  std::string path(path_of(call.lane));
  std::string timeout = call.plan.deadline ? std::to_string(call.plan.deadline->count() / 1000) + "u" : "";
  std::string agent = "call/" + number;
  std::string trace = "Root=1-0123abcd-0123456789abcdef01234567;call=" + number;
  std::vector<nghttp2_nv> fields{field(":method", "POST"), field(":scheme", stage_.mix.tls ? "https" : "http"),
                                 field(":path", path),     field(":authority", "sim.example"),
                                 field("te", "trailers"),  field("content-type", "application/grpc"),
                                 field("x-call", number)};
  // The access log knows a call by the one or the other.
  bool by_agent = id % 2 == 0 || stage_.mix.large_heads;  // with large heads the balancer makes its own trace id
  fields.push_back(by_agent ? field("user-agent", agent) : field("user-agent", "sim"));
  if (!by_agent) fields.push_back(field("x-amzn-trace-id", trace));
  std::string metadata = call.plan.metadata(Direction::Request);
  if (!metadata.empty()) fields.push_back(field("x-metadata", metadata));
  if (call.lane == Lane::Header) fields.push_back(field("x-lane", "two"));
  if (call.plan.deadline) fields.push_back(field("grpc-timeout", timeout));
  nghttp2_data_provider p = provider();
  int32_t stream = nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(), &p, nullptr);
  if (stream < 0) {
    stage_.ledger.end(call, {Ending::Kind::NeverSent, -1, "", 0, false}, stage_.now());
    goaway_ = true;
    return false;
  }
  carried_calls_ = true;
  StreamState& s = streams_[stream];
  s.call = &call;
  s.out = std::make_unique<MessageStream>(call.plan, Direction::Request);
  s.in = std::make_unique<MessageStream>(call.plan, Direction::Response);
  step(stream, s);
  return true;
}

void ClientConnection::step(int32_t id, StreamState& s) {
  const Plan& plan = s.call->plan;
  uint32_t all = plan.messages[0];
  if (plan.pace > Duration::zero()) {
    if (stage_.now() >= s.next_message_at && s.allowed < all) {
      ++s.allowed;
      s.next_message_at = stage_.now() + plan.pace;
    }
  } else if (plan.interleaved) {
    s.allowed = std::min(all, s.in == nullptr ? all : s.in->passed() + 1);
    if (s.in != nullptr && s.in->at_end()) s.allowed = all;
  } else {
    s.allowed = std::min(all, s.allowed + static_cast<uint32_t>(stage_.random.below(4)));
  }
  s.may_end = s.allowed == all;
  resume(id, s);
  bool reads = !plan.slow_reader[1] || stage_.random.below(12) == 0;
  if (reads) consume(id, s);
}

bool ClientConnection::tick() {
  std::vector<int32_t> cancelled;
  bool busy = false;
  for (auto& [id, s] : streams_) {
    if (s.call == nullptr) continue;
    step(id, s);
    s.call->messages_sent = s.out->begun();
    bool hurries = s.call->plan.pace == Duration::zero() || s.unconsumed > 0;
    busy = busy || (hurries && (s.unconsumed > 0 || !s.may_end ||
                                stage_.now() - s.call->progress < std::chrono::milliseconds(100)));
    const std::optional<Duration>& cancel_after = s.call->plan.cancel_after;
    if (cancel_after && stage_.now() - s.call->started >= *cancel_after) cancelled.push_back(id);
  }
  for (int32_t id : cancelled) {
    StreamState& s = streams_[id];
    Call& call = *s.call;
    s.call = nullptr;
    call.messages_sent = s.out->begun();
    stage_.ledger.end(call, {Ending::Kind::Cancelled, -1, "", 0, false}, stage_.now());
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
  }
  fidget();
  pump();
  return busy;
}

void ClientConnection::on_header(StreamState& s, std::string_view name, std::string_view value) {
  if (name == "grpc-status") std::from_chars(value.data(), value.data() + value.size(), s.grpc_status);
  if (name == "grpc-message") s.grpc_message = value;
  if (name == "grpc-retry-pushback-ms") s.pushback = value;
  if (name == "x-metadata") s.metadata = value;
  if (name == ":status") std::from_chars(value.data(), value.data() + value.size(), s.http_status);
}

void ClientConnection::on_message_bytes(int32_t id, StreamState& s) {
  if (!s.call->plan.slow_reader[1]) consume(id, s);
}

void ClientConnection::on_stream_over(int32_t, StreamState& s, uint32_t code) {
  if (s.call == nullptr) return;
  Ending e;
  bool says = s.remote_end && s.grpc_message.starts_with("server says");
  if (says && s.metadata != s.call->plan.metadata(Direction::Response)) {
    stage_.ledger.lie(*s.call, "the metadata of its trailers is not the server's");
  }
  if (s.out != nullptr) s.call->messages_sent = s.out->begun();
  if (s.remote_end) {
    e = {Ending::Kind::Status, s.grpc_status, s.grpc_message, code, s.in != nullptr && s.in->at_end()};
    e.pushback = s.pushback;
    if (s.in != nullptr) e.at_boundary = s.in->at_boundary();
    if (s.in != nullptr) e.messages = s.in->passed();
    e.http_status = s.http_status;
    if (s.http_status != 200) e.message = s.page;
  } else {
    e = {s.sent ? Ending::Kind::Reset : Ending::Kind::NeverSent, -1, "", code, false};
  }
  stage_.ledger.end(*s.call, e, stage_.now());
  s.call = nullptr;
}

void ClientConnection::on_closed(std::string_view error) {
  for (auto& [id, s] : streams_) {
    if (s.call == nullptr) continue;
    // What has ended for both sides but for a last RST_STREAM is complete.
    if (s.remote_end) {
      on_stream_over(id, s, 0);
      continue;
    }
    if (s.out != nullptr) s.call->messages_sent = s.out->begun();
    Ending e{s.sent ? Ending::Kind::Lost : Ending::Kind::NeverSent, -1, std::string(error), 0, false};
    stage_.ledger.end(*s.call, e, stage_.now());
    s.call = nullptr;
  }
  streams_.clear();
}

void ClientConnection::cut(bool with_reset) {
  stage_.ledger.troubles.client = stage_.now();
  if (with_reset) {
    channel().reset();
  } else {
    channel().close();
  }
  on_closed("cut");
}

ClientDriver::ClientDriver(Stage& stage, int index, Dial dial, uint64_t& calls_started)
    : stage_(stage), index_(index), dial_(std::move(dial)), calls_started_(calls_started), timer_([this] { tick(); }) {
  stage_.loop.arm(timer_, stage_.now() + microseconds(stage_.random.below(3000)));
}

void ClientDriver::tick() {
  if (closed_) return;
  std::erase_if(connections_, [](const auto& c) { return !c->open(); });
  bool all_started = calls_started_ >= static_cast<uint64_t>(stage_.mix.calls);
  if (!all_started && (connections_.empty() || !connections_.back()->usable())) {
    std::string name = "client " + std::to_string(index_) + "." + std::to_string(++made_);
    connections_.push_back(std::make_unique<ClientConnection>(
        stage_, dial_(), stage_.mix.tls ? Channel::Security::Tls : Channel::Security::Clear, name));
  }
  if (!all_started) start_calls();
  bool busy = !all_started && !stage_.mix.spread;
  for (auto& c : connections_) busy = c->tick() || busy;
  if (stage_.mix.client_cuts && !calm_ && !connections_.empty() && stage_.random.below(120) == 0) {
    connections_[stage_.random.below(connections_.size())]->cut(stage_.random.below(2) == 0);
  }
  Duration pause = busy ? microseconds(100 + stage_.random.below(3000))
                        : microseconds(20000 + stage_.random.below(60000));
  stage_.loop.arm(timer_, stage_.now() + pause);
}

void ClientDriver::start_calls() {
  if (stage_.mix.spread && stage_.random.below(100) >= 20) return;
  for (uint64_t n = stage_.random.below(4); n > 0; --n) {
    if (calls_started_ >= static_cast<uint64_t>(stage_.mix.calls)) return;
    if (connections_.back()->streams() >= static_cast<size_t>(stage_.mix.concurrent)) return;
    if (connections_.back()->start_call(calls_started_ + 1)) ++calls_started_;
  }
}

bool ClientDriver::idle() const {
  return std::all_of(connections_.begin(), connections_.end(), [](const auto& c) { return c->streams() == 0; });
}

void ClientDriver::close_all() {
  closed_ = true;
  connections_.clear();
}

}  // namespace weir::sim
