#include "proxy/upstream.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "proxy/worker.h"

namespace weir::proxy {

using http::h2::EndReason;
using http::h2::ErrorCode;

int Upstream::open_socket(net::Sockets& sockets, const Target& target) {
  int fd = sockets.connect(target.socket_address, target.socket_address_size);
  if (fd >= 0) return fd;  // the outcome shows when the socket becomes writable
  log_info("target=" + target.address + ":" + std::to_string(target.port) + " connect: " + std::strerror(-fd));
  return -1;
}

Upstream::Upstream(Worker& worker, int fd, TargetHandle target_handle)
    : Peer(worker, worker.upstream_options()), target_(target_handle), opened_(worker.now()) {
  connected_ = false;
  const Target* t = worker.targets().resolve(target_handle);
  net::Sockets& sockets = worker.loop().sockets();
  watch(t->tls ? std::make_unique<net::Transport>(worker.buffers(), fd, worker.target_tls(), sockets,
                                                  t->tls_session.get())
               : std::make_unique<net::Transport>(worker.buffers(), fd, sockets),
        EPOLLOUT);
}

void Upstream::begin(Handle<Upstream> self) {
  self_ = self;
  connection_.start();
}

void Upstream::push_dirty() { worker_.dirty_upstreams().push_back(self_); }
void Upstream::push_retired() {
  if (Target* t = worker_.targets().resolve(target_)) std::erase(t->connections, self_);
  worker_.retired_upstreams().push_back(self_);
}

bool Upstream::before_read() {
  if (int error = worker_.loop().sockets().connect_error(transport_->fd()); error != 0) {
    over(EndReason::ConnectFailed, std::string("connect: ") + std::strerror(error));
    return false;
  }
  connected_ = true;
  opened_ = worker_.now();
  if (!transport_->tls()) worker_.set_reachable(target_, true);
  mark_dirty();
  return true;
}

void Upstream::on_handshake() {
  opened_ = worker_.now();
  worker_.set_reachable(target_, true);
}

void Upstream::on_headers(http::h2::StreamHandle, http::h2::Stream& s, const http::h2::HeadersEvent& event) {
  if (event.kind == http::h2::HeadersEvent::Kind::Informational) return;  // alb.md 4.9 #17
  worker_.forward_response_headers(unpack(s.user), event);
}

size_t Upstream::on_data(http::h2::StreamHandle, http::h2::Stream& s, std::span<const uint8_t> bytes,
                         bool end_stream) {
  return worker_.forward_response_data(unpack(s.user), bytes, end_stream);
}

void Upstream::on_reset(http::h2::StreamHandle, http::h2::Stream& s, ErrorCode code, ResetBy by) {
  worker_.target_reset(unpack(s.user), code, by);
}

void Upstream::on_sent(http::h2::StreamHandle, http::h2::Stream& s, size_t bytes) {
  worker_.return_credit_downstream(unpack(s.user), bytes);
}

void Upstream::on_goaway(uint32_t, ErrorCode) {
  if (Target* t = worker_.targets().resolve(target_)) std::erase(t->connections, self_);
  close_when_idle();
}

void Upstream::on_settings() {
  Target* t = worker_.targets().resolve(target_);
  if (t == nullptr) return;
  t->streams_known = connection_.peer_max_concurrent_streams();
  if (!transport_->tls()) return;
  if (net::TlsSession session = transport_->take_session()) t->tls_session = std::move(session);
}

void Upstream::close_when_idle() {
  if (connection_.stream_count() == 0) worker_.close_at_turn_end(self_);
}

void Upstream::lose_all_exchanges(std::string_view why) {
  struct Lost {
    ExchangeHandle exchange;
    bool unsent;
  };
  std::vector<Lost> open;
  connection_.for_each_stream([&](http::h2::StreamHandle handle) {
    http::h2::Stream* s = worker_.h2_shared().streams.resolve(handle);
    if (s != nullptr) open.push_back({unpack(s->user), s->id > written_through_});
  });
  for (const Lost& lost : open) worker_.target_lost(lost.exchange, lost.unsent, why);
}

// A handshake that fails is as good as a connection that cannot be made.
void Upstream::note_tls_failure(std::string& why) {
  why = "TLS handshake with the target failed: " + why;
  ++worker_.counters().target_tls_failed;
  Target* t = worker_.targets().resolve(target_);
  if (t == nullptr) return;
  ++t->tls_failed;
  if (t->metrics != nullptr) ++t->metrics->tls_errors;
  t->tls_session = nullptr;  // in case it was the session that the target did not like
  log_info("target=" + t->address + ":" + std::to_string(t->port) + " " + why);
}

void Upstream::on_over(std::string_view reason) {
  if (over_) return;
  over_ = true;
  std::string why(reason);
  bool in_handshake = connected_ && !transport_->handshake_done();
  bool tls_failed = in_handshake && (transport_->tls_failure() != net::TlsFailure::None ||
                                     worker_.now() - opened_ > kHandshakeMax);
  if (tls_failed) note_tls_failure(why);
  if (!connected_ || tls_failed) worker_.set_reachable(target_, false);
  if (Target* t = worker_.targets().resolve(target_)) {
    std::erase(t->connections, self_);
    if (!connected_ && t->metrics != nullptr) ++t->metrics->connection_errors;
    if (connection_.stream_count() > 0) {
      log_info("target=" + t->address + ":" + std::to_string(t->port) +
               " streams=" + std::to_string(connection_.stream_count()) + " lost: " + why);
    }
  }
  lose_all_exchanges(why);
  retire();
}

void Upstream::tick(TimePoint now) {
  if (dead()) return;
  if (!connected_ && now - opened_ > kConnectMax) return over(EndReason::ConnectFailed, "connect: timed out");
  if (connected_ && !transport_->handshake_done()) {
    if (now - opened_ > kTargetHandshakeMax) over(EndReason::SlowHandshake, "timed out");
    return;
  }
  if (connected_ && !connection_.preface_done() && now - opened_ > kTargetSettingsMax) {
    return over(EndReason::SlowPreface, "the target sent no HTTP/2 SETTINGS");
  }
  if (write_stalled_since(now - kTargetStallMax)) return over(EndReason::SlowReader, "the target reads nothing");
  Target* t = worker_.targets().resolve(target_);
  if (connection_.ids_exhausted() && t != nullptr) std::erase(t->connections, self_);  // another takes over
  bool leaving = t == nullptr || t->removed || t->draining || connection_.goaway_received() ||
                 connection_.ids_exhausted();
  if (leaving || is_idle(now)) close_when_idle();
}

// No stream for the idle timeout (alb.md 4.5: it holds on both sides).
bool Upstream::is_idle(TimePoint now) {
  bool used = connection_.stream_count() > 0 || idle_through_ != opened_through_ || idle_since_ == TimePoint{};
  idle_through_ = opened_through_;
  if (used) idle_since_ = now;
  return now - idle_since_ >= std::chrono::milliseconds(worker_.snapshot().idle_timeout_ms);
}

}  // namespace weir::proxy
