#include "sim/server.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace weir::sim {

namespace {

using std::chrono::microseconds;

std::string message_of(const Call& call) { return "server says " + std::to_string(call.plan.id); }

// grpc.health.v1.HealthCheckResponse with its prefix.
std::string health_message(bool serving) { return std::string("\0\0\0\0\2\x08", 6) + (serving ? '\1' : '\2'); }

// The latest try of a call is one of those that are refused.
bool refuses(const Call& call) {
  int refused = 0, failed = 0;
  for (const Execution& e : call.executions) {
    refused += e.refused;
    failed += e.failed;
  }
  return refused < call.plan.refusals && (!call.plan.refused_late || failed >= call.plan.failures);
}

bool has_end(std::string_view text, std::string_view end) { return text.ends_with(end); }

}  // namespace

ServerConnection::ServerConnection(Stage& stage, ServerHost& host, int fd, int group, std::string name)
    : H2Endpoint(stage, fd, Role::Server,
                 stage.mix.target_tls[group] ? Channel::Security::TlsServer : Channel::Security::Clear),
      host_(host),
      group_(group) {
  name_ = std::move(name);
  begin(draw_window());
}

void ServerConnection::on_header(StreamState& s, std::string_view name, std::string_view value) {
  if (name == "x-call") std::from_chars(value.data(), value.data() + value.size(), s.call_id);
  if (name == ":path") s.path = value;
  if (name == "x-metadata") s.metadata = value;
  if (name == "grpc-previous-rpc-attempts") {
    std::from_chars(value.data(), value.data() + value.size(), s.previous_attempts);
  }
}

void ServerConnection::on_head(int32_t id, StreamState& s) {
  s.call = stage_.ledger.find(s.call_id);
  if (s.call == nullptr) return answer_health(id, s);
  carried_calls_ = true;
  s.call->executions.push_back({});
  s.execution = &s.call->executions.back();
  s.execution->began = stage_.now();
  s.execution->group = group_;
  s.execution->port = host_.port(group_);
  s.execution->previous_attempts = s.previous_attempts;
  if (s.path != path_of(s.call->lane)) stage_.ledger.violation(name_ + ": the path " + s.path + " is another call's");
  if (s.metadata != s.call->plan.metadata(Direction::Request)) {
    stage_.ledger.lie(*s.call, "the metadata of its head is not the client's");
  }
  stage_.ledger.check_execution(*s.call, stage_.now());
  if (refuses(*s.call)) {
    s.execution->refused = true;
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
    return;
  }
  stage_.ledger.note(stage_.now(), name_ + " takes call " + std::to_string(s.call_id));
  s.out = std::make_unique<MessageStream>(s.call->plan, Direction::Response);
  s.in = std::make_unique<MessageStream>(s.call->plan, Direction::Request);
}

void ServerConnection::answer_health(int32_t id, StreamState& s) {
  if (s.path == "/ready") {
    ++stage_.ledger.happened["health check by GET"];
    const std::array status{field(":status", host_.healthy() ? "200" : "503")};
    nghttp2_submit_response(session_, id, status.data(), status.size(), nullptr);
    return;
  }
  if (!has_end(s.path, "/Check") && !has_end(s.path, "/Watch")) return trailers_only(id, host_.healthy() ? 12 : 14, "");
  bool watch = has_end(s.path, "/Watch");
  if (watch && !host_.has_watch()) return trailers_only(id, 12, "");
  if (!watch && !host_.healthy() && host_.port() % 2 == 0) return trailers_only(id, 14, "");
  const std::array fields{field(":status", "200"), field("content-type", "application/grpc")};
  s.raw = health_message(host_.healthy());
  s.may_end = !watch;
  if (watch) s.watch_told = host_.healthy();
  s.told_at = stage_.now();
  nghttp2_data_provider p = provider();
  nghttp2_submit_response(session_, id, fields.data(), fields.size(), &p);
}

void ServerConnection::tell_watch(int32_t id, StreamState& s) {
  if (s.watch_told < 0 || s.watch_told == static_cast<int>(host_.healthy())) return;
  ++stage_.ledger.happened["word of a Watch"];
  s.watch_told = host_.healthy();
  s.told_at = stage_.now();
  s.raw += health_message(host_.healthy());
  resume(id, s);
}

bool ServerConnection::watched() const {
  TimePoint arrived = stage_.now() - std::chrono::milliseconds(500);
  return std::any_of(streams_.begin(), streams_.end(), [arrived](const auto& entry) {
    return entry.second.watch_told >= 0 && entry.second.told_at < arrived;
  });
}

// The end of a try by trailers alone: whether another follows is the policy's.
void ServerConnection::note_failed(StreamState& s, int status) {
  s.execution->finished = true;
  s.execution->failed = (stage_.mix.retry_codes >> status & 1) != 0;
  s.execution->failed_status = status;
}

// Tries that fail at once, so that the policy may send the request again. True: this was one.
bool ServerConnection::fail(int32_t id, StreamState& s) {
  auto tried = std::count_if(s.call->executions.begin(), s.call->executions.end(),
                             [](const Execution& e) { return !e.refused; });
  if (tried > s.call->plan.failures) return false;
  note_failed(s, s.call->plan.failure_status);
  std::string code = std::to_string(s.call->plan.failure_status);
  std::string message = "server fails " + std::to_string(s.call->plan.id);
  std::vector<nghttp2_nv> fields{field(":status", "200"), field("content-type", "application/grpc"),
                                 field("grpc-status", code), field("grpc-message", message)};
  s.execution->wait = std::chrono::milliseconds(s.call->plan.pushback_ms().value_or(0));
  if (!s.call->plan.pushback.empty()) fields.push_back(field("grpc-retry-pushback-ms", s.call->plan.pushback));
  nghttp2_submit_response(session_, id, fields.data(), fields.size(), nullptr);
  return true;
}

void ServerConnection::trailers_only(int32_t id, int status, const std::string& message,
                                     const std::string& metadata) {
  std::string code = std::to_string(status);
  std::vector<nghttp2_nv> fields{field(":status", "200"), field("content-type", "application/grpc"),
                                 field("grpc-status", code), field("grpc-message", message)};
  if (!metadata.empty()) fields.push_back(field("x-metadata", metadata));
  nghttp2_submit_response(session_, id, fields.data(), fields.size(), nullptr);
}

uint32_t ServerConnection::messages_allowed(StreamState& s) const {
  const Plan& plan = s.call->plan;
  uint32_t all = plan.messages[1];
  uint32_t more = std::min(all, s.allowed + static_cast<uint32_t>(stage_.random.below(4)));
  if (plan.fate == Fate::Early || plan.fate == Fate::Reset) return std::min(more, plan.stop_after);
  if (s.remote_end || plan.eager) return more;
  if (plan.interleaved && s.in != nullptr) return std::min(all, s.in->passed());
  return s.allowed;
}

// Everything that a plan makes a server do, one step at a time.
void ServerConnection::step(int32_t id, StreamState& s) {
  const Plan& plan = s.call->plan;
  if (s.execution->refused || s.out == nullptr) return;
  bool reads = !plan.slow_reader[0] || stage_.random.below(12) == 0;
  if (reads) consume(id, s);
  if (s.local_end) let_go(id, s);
  s.execution->messages = s.in != nullptr ? s.in->passed() : 0;
  if (s.execution->finished || fail(id, s) || plan.fate == Fate::Hang) return;
  if (plan.fate == Fate::TrailersOnly) {
    note_failed(s, plan.grpc_status);
    return trailers_only(id, plan.grpc_status, message_of(*s.call), plan.metadata(Direction::Response));
  }
  s.allowed = messages_allowed(s);
  if (!s.sent && s.allowed > 0) {
    const std::array fields{field(":status", "200"), field("content-type", "application/grpc")};
    nghttp2_data_provider p = provider();
    nghttp2_submit_response(session_, id, fields.data(), fields.size(), &p);
    s.sent = true;
  }
  if (plan.fate == Fate::Reset && s.allowed == plan.stop_after) {
    s.execution->finished = true;
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, plan.reset_code);
    return;
  }
  bool all_allowed = plan.fate == Fate::Early ? s.allowed == plan.stop_after
                                              : s.remote_end && s.allowed == plan.messages[1];
  if (all_allowed && !s.sent) {
    note_failed(s, plan.grpc_status);
    return trailers_only(id, plan.grpc_status, message_of(*s.call), plan.metadata(Direction::Response));
  }
  s.may_end = all_allowed;
  resume(id, s);
}

// The response is complete and the request may not be: some servers reset then, others read on.
void ServerConnection::let_go(int32_t id, StreamState& s) {
  if (!s.remote_end && s.call->plan.id % 2 == 0) {
    s.local_end = false;
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
  }
}

void ServerConnection::submit_trailers(int32_t id, StreamState& s) {
  std::string code = s.call == nullptr ? "0" : std::to_string(s.call->plan.grpc_status);
  std::string message = s.call == nullptr ? "" : message_of(*s.call);
  std::string metadata = s.call == nullptr ? "" : s.call->plan.metadata(Direction::Response);
  std::vector<nghttp2_nv> fields{field("grpc-status", code), field("grpc-message", message)};
  if (!metadata.empty()) fields.push_back(field("x-metadata", metadata));
  if (s.execution != nullptr) s.execution->finished = true;
  nghttp2_submit_trailer(session_, id, fields.data(), fields.size());
}

bool ServerConnection::tick() {
  bool busy = false;
  for (auto& [id, s] : streams_) {
    tell_watch(id, s);
    if (s.call == nullptr) continue;
    step(id, s);
    bool hurries = s.call->plan.fate != Fate::Hang && s.call->plan.pace == Duration::zero();
    busy = busy || s.unconsumed > 0 || (!s.execution->finished && hurries);
  }
  // Only when it leaves at once: streams that come in between would be above its last id, and yet processed.
  if (final_due_ && channel().unsent() == 0 && stage_.random.below(10) == 0) {
    final_due_ = false;
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                          NGHTTP2_NO_ERROR, nullptr, 0);
  }
  fidget();
  pump();
  return busy || final_due_;
}

void ServerConnection::goaway(bool at_once) {
  if (leaving_ || channel().unsent() > 0) return;
  leaving_ = true;
  if (at_once) {
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                          NGHTTP2_NO_ERROR, nullptr, 0);
  } else {
    nghttp2_submit_shutdown_notice(session_);
    final_due_ = true;
  }
  pump();
}

void ServerConnection::cut(bool with_reset) {
  // The end of a closed connection arrives behind all that is in flight: a slow line takes its time.
  // A reset is on its way for a while: what is sent meanwhile is lost.
  Duration lasts = with_reset ? 2 * stage_.mix.latency : Duration(std::chrono::seconds(1));
  stage_.ledger.troubles.target = std::max(stage_.ledger.troubles.target, stage_.now() + lasts);
  if (with_reset) {
    channel().reset();
  } else {
    channel().close();
  }
  on_closed("cut");
}

void ServerConnection::on_message_bytes(int32_t id, StreamState& s) {
  if (!s.call->plan.slow_reader[0]) consume(id, s);
}

void ServerConnection::on_stream_over(int32_t, StreamState& s, uint32_t) {
  if (s.execution == nullptr) return;
  s.execution->over = true;
  if (s.in != nullptr) s.execution->messages = s.in->passed();
}

void ServerConnection::on_closed(std::string_view) {
  for (auto& [id, s] : streams_) on_stream_over(id, s, 0);
  streams_.clear();
}

ServerHost::ServerHost(Stage& stage, uint16_t port, const Line& line)
    : stage_(stage), port_(port), line_(line), timer_([this] { tick(); }) {
  listen(Network::Listener::Answer::Accept);
  stage_.loop.arm(timer_, stage_.now());
}

ServerHost::~ServerHost() { listen(Network::Listener::Answer::Refuse); }

void ServerHost::listen(Network::Listener::Answer answer) {
  for (int group = 0; group < kGroups; ++group) {
    stage_.network.listen(port(group), {answer, line_, [this, group](int fd) { accepted(fd, group); }});
  }
}

void ServerHost::accepted(int fd, int group) {
  if (no_tls_ && stage_.mix.target_tls[group]) {  // something else answers here
    stage_.network.send(fd, "HTTP/1.0 400", 12);
    return stage_.network.close(fd);
  }
  std::string name = "target " + std::to_string(port(group)) + "." + std::to_string(++made_);
  connections_.push_back(std::make_unique<ServerConnection>(stage_, *this, fd, group, name));
}

void ServerHost::set_healthy(bool healthy) {
  if (healthy == healthy_) return;
  healthy_ = healthy;
  healthy_since_ = stage_.now();
}

bool ServerHost::watched(int group) const {
  return std::any_of(connections_.begin(), connections_.end(), [group](const auto& c) {
    return c->open() && c->group() == group && c->watched();
  });
}

void ServerHost::tick() {
  bool busy = false;
  if (!silent_) {
    std::erase_if(connections_, [](const auto& c) { return !c->open(); });
    for (auto& c : connections_) busy = c->tick() || busy;
  }
  Duration pause = busy ? microseconds(100 + stage_.random.below(2500))
                        : microseconds(1000 + stage_.random.below(10000));
  stage_.loop.arm(timer_, stage_.now() + pause);
}

void ServerHost::crash() {
  down_ = true;
  each_connection([](ServerConnection& c) { c.cut(true); });
  listen(Network::Listener::Answer::Refuse);
}

void ServerHost::fall_silent() {
  silent_ = true;
  each_connection([](ServerConnection& c) { c.channel().set_reading(false); });
  listen(Network::Listener::Answer::Silence);
}

void ServerHost::break_tls() {
  no_tls_ = true;
  each_connection([this](ServerConnection& c) {
    if (stage_.mix.target_tls[c.group()]) c.cut(true);
  });
}

void ServerHost::recover() {
  down_ = silent_ = no_tls_ = false;
  well_since_ = stage_.now();
  each_connection([](ServerConnection& c) { c.channel().set_reading(true); });
  listen(Network::Listener::Answer::Accept);
}

void ServerHost::goaway_all(bool at_once) {
  each_connection([at_once](ServerConnection& c) { c.goaway(at_once); });
}

void ServerHost::cut_one(bool with_reset) {
  bool done = false;
  each_connection([&](ServerConnection& c) {
    if (!done) c.cut(with_reset);
    done = true;
  });
}

void ServerHost::retire() { listen(Network::Listener::Answer::Refuse); }

size_t ServerHost::open_connections() const {
  return static_cast<size_t>(
      std::count_if(connections_.begin(), connections_.end(), [](const auto& c) { return c->open(); }));
}

}  // namespace weir::sim
