#include "proxy/downstream.h"

#include <sys/epoll.h>

#include <algorithm>

#include "base/log.h"
#include "proxy/limits.h"
#include "proxy/worker.h"

namespace weir::proxy {

using http::h2::EndReason;
using http::h2::ErrorCode;

namespace {
constexpr Duration kGoawayRoundTrip = std::chrono::seconds(1);  // a drained connection lives so long at least
// A client that has not answered the PING behind the first GOAWAY may be slow, and send streams still.
constexpr Duration kGoawayAnswerMax = std::chrono::seconds(5);

}  // namespace

Downstream::Downstream(Worker& worker, int fd, ClientAddress client, std::shared_ptr<ListenerState> listener)
    : Peer(worker, worker.downstream_options()),
      client_(std::move(client)),
      client_ip_(IpAddress::parse(client_.address)),
      listener_(std::move(listener)),
      opened_(worker.now()) {
  const model::RoutingSnapshot& snapshot = worker.snapshot();
  requests_left_ = snapshot.requests_per_connection_max == 0 ? UINT32_MAX : snapshot.requests_per_connection_max;
  requests_left_before_ = requests_left_;
  keep_alive_until_ = opened_ + std::chrono::milliseconds(snapshot.client_keep_alive_ms);
  auto transport = listener_->tls != nullptr
                       ? std::make_unique<net::Transport>(worker.buffers(), fd, listener_->tls, worker.loop().sockets())
                       : std::make_unique<net::Transport>(worker.buffers(), fd, worker.loop().sockets());
  gather_facts();
  watch(std::move(transport), EPOLLIN | EPOLLRDHUP);
}

void Downstream::gather_facts() {
  facts_.client = client_.address;
  facts_.client_port = client_.port;
  facts_.ipv6 = client_.address.find(':') != std::string::npos;
  facts_.listener_port = listener_->config.port;
  facts_.tls = listener_->tls != nullptr;
  facts_.trace_id = worker_.observer().new_connection_id();
  facts_.pack();
}

void Downstream::make_forwarded() {
  HeadRules& rules = listener_->head;
  net::TlsInfo tls = transport_->tls() ? transport_->tls_info() : net::TlsInfo{};
  HeadRules::Connection c{client_.address, client_.port, tls.protocol, tls.cipher};
  for (bool client_sent_for : {false, true}) {
    forwarded_[client_sent_for] = rules.constant_fields(c, client_sent_for, worker_.runs());
  }
  forwarded_address_ = rules.address_of(c);
  forwarded_version_ = rules.version();
}

void Downstream::begin(Handle<Downstream> self) {
  self_ = self;
  connection_.start();
}

void Downstream::push_dirty() { worker_.dirty_downstreams().push_back(self_); }
void Downstream::push_retired() { worker_.retired_downstreams().push_back(self_); }

void Downstream::on_headers(http::h2::StreamHandle handle, http::h2::Stream& s,
                            const http::h2::HeadersEvent& event) {
  if (event.kind == http::h2::HeadersEvent::Kind::Head) {
    if (--requests_left_ == 0) [[unlikely]] drain();  // those that are on the way are still taken
    worker_.start_exchange(*this, self_, handle, s, event);
  } else {
    worker_.forward_request_trailers(unpack(s.user), event.list);
  }
}

size_t Downstream::on_data(http::h2::StreamHandle, http::h2::Stream& s, std::span<const uint8_t> bytes,
                           bool end_stream) {
  return worker_.forward_request_data(unpack(s.user), bytes, end_stream);
}

void Downstream::on_reset(http::h2::StreamHandle, http::h2::Stream& s, ErrorCode, ResetBy by) {
  bool cancelled = by == ResetBy::Remote;
  worker_.client_cancelled(unpack(s.user), cancelled ? "the client cancelled" : "the client broke the HTTP/2 protocol");
}

void Downstream::on_sent(http::h2::StreamHandle, http::h2::Stream& s, size_t bytes) {
  worker_.return_credit_upstream(unpack(s.user), bytes);
}

void Downstream::end_all_exchanges() {
  std::vector<ExchangeHandle> open;
  connection_.for_each_stream([&](http::h2::StreamHandle handle) {
    http::h2::Stream* s = worker_.h2_shared().streams.resolve(handle);
    if (s != nullptr) open.push_back(unpack(s->user));
  });
  for (ExchangeHandle e : open) worker_.client_cancelled(e, "the client's connection ended");
}

void Downstream::on_handshake() {
  handshake_time_ = worker_.now() - opened_;
  ++worker_.counters().tls_handshakes;
  net::TlsInfo tls = transport_->tls_info();
  if (tls.resumed) ++worker_.counters().tls_resumed;
  facts_.take(tls, handshake_time_, listener_->config);
  worker_.observer().connected(facts_, worker_.now());
}

void Downstream::note_tls_failure(std::string_view why) {
  ++worker_.counters().tls_failed;
  facts_.failure = why;
  worker_.observer().handshake_failed(facts_, worker_.now());
  log_line(LogLevel::Debug, "downstream client=" + client_address() + " TLS handshake failed: " + std::string(why));
}

void Downstream::on_over(std::string_view why) {
  if (over_since_ != TimePoint{}) return;
  over_since_ = worker_.now();
  if (transport_->tls_failure() != net::TlsFailure::None) note_tls_failure(why);
  end_all_exchanges();
  if (!connection_.failed()) return retire();
  worker_.counters().connections_failed += 1;
  log_line(LogLevel::Debug, "downstream client=" + client_.address + " over: " + std::string(why));
  linger();
}

void Downstream::drain() {
  if (drain_started_ != TimePoint{} || dead()) return;
  drain_started_ = worker_.now();
  connection_.announce_goaway();
  connection_.ping(1);
}

EndReason Downstream::overdue(TimePoint now) {
  if (connection_.failed()) {  // it does not read our GOAWAY
    if (failed_since_ == TimePoint{}) failed_since_ = now;
    return now - failed_since_ > kLingerMax ? connection_.end_reason() : EndReason::None;
  }
  if (!connection_.preface_done() && now - opened_ > kHandshakeMax) {
    return transport_->handshake_done() ? EndReason::SlowPreface : EndReason::SlowHandshake;
  }
  TimePoint owes_since = connection_.partial_since();
  if (owes_since != TimePoint{} && now - owes_since > kHeaderBlockMax &&
      (connection_.in_header_block() || connection_.stream_count() == 0)) {
    return EndReason::SlowHeaderBlock;
  }
  Duration reading = std::chrono::milliseconds(worker_.snapshot().slow_reader_ms);
  Duration stall = reading == Duration::zero() ? kWriteStallMax : std::min(kWriteStallMax, reading);
  return write_stalled_since(now - stall) ? EndReason::SlowReader : EndReason::None;
}

void Downstream::cut(EndReason reason) {
  end_because(reason);
  if (reason == EndReason::SlowHandshake) note_tls_failure("timed out");
  end_all_exchanges();
  if (reason == EndReason::SlowPreface) {
    connection_.fail(ErrorCode::SettingsTimeout, reason, "no preface and SETTINGS in time");
  } else if (reason == EndReason::SlowHeaderBlock) {
    connection_.fail(ErrorCode::EnhanceYourCalm, reason, "a header block or frame was not finished in time");
  } else {
    retire();  // who does not read, or has no keys, hears nothing
  }
}

void Downstream::end_stalled_streams(TimePoint now) {
  Duration reading = std::chrono::milliseconds(worker_.snapshot().slow_reader_ms);
  if (reading == Duration::zero() || connection_.pending_bytes() == 0) return;
  std::vector<std::pair<http::h2::StreamHandle, ExchangeHandle>> stalled;
  connection_.for_each_stalled(now, reading, kDrainBytesMin, [&](http::h2::StreamHandle handle, http::h2::Stream& s) {
    stalled.emplace_back(handle, unpack(s.user));
  });
  for (auto [stream, exchange] : stalled) {
    ++worker_.defences().streams_stalled;
    worker_.client_cancelled(exchange, "the client reads too little");
    connection_.reset(stream, ErrorCode::EnhanceYourCalm);
  }
}

// A connection that is too old takes one more request (alb.md 4.4); one without streams goes after the idle timeout.
void Downstream::tick_life(TimePoint now) {
  if (drain_started_ != TimePoint{}) return;
  if (now >= keep_alive_until_ && requests_left_ > 1) requests_left_ = requests_left_before_ = 1;
  if (listener_->removed || is_idle(now)) drain();
}

bool Downstream::is_idle(TimePoint now) {
  bool used = connection_.stream_count() > 0 || requests_left_ != requests_left_before_ || !connection_.preface_done();
  requests_left_before_ = requests_left_;
  if (used || idle_since_ == TimePoint{}) idle_since_ = now;
  const model::RoutingSnapshot& snapshot = worker_.snapshot();
  TimePoint since = snapshot.ping_counts_as_life ? std::max(idle_since_, connection_.last_ping_at()) : idle_since_;
  return now - since >= std::chrono::milliseconds(snapshot.idle_timeout_ms);
}

bool Downstream::has_lingered(TimePoint now) const {
  Duration lingered = now - over_since_;
  if (connection_.failed() || discarded() > kDrainedBytesMax) return lingered > kLingerMax;
  if (lingered > kDrainedLingerMax) return true;
  // The end of the load balancer waits for bytes, not long for a silent client that has them all but does not close.
  return worker_.shutting_down() && !transport_->in_flight() &&
         now - std::max(over_since_, last_discarded()) > kUnreadLingerMax;
}

void Downstream::tick(TimePoint now) {
  if (dead()) return;
  if (over_since_ != TimePoint{}) {
    if (has_lingered(now)) retire();
    return;
  }
  if (EndReason reason = overdue(now); reason != EndReason::None) return cut(reason);
  end_stalled_streams(now);
  tick_life(now);
  if (drain_started_ != TimePoint{}) {
    bool told = connection_.pings_acked() > 0 || now - drain_started_ > kGoawayAnswerMax;
    if (told) connection_.finish_goaway();
    // Records that the socket has not taken yet are somebody's last answer.
    bool all_written = connection_.output().empty() && !transport_->wants_write();
    if (told && connection_.stream_count() == 0 && all_written && now - drain_started_ > kGoawayRoundTrip) {
      over_since_ = now;
      end_because(EndReason::Drained);
      linger();
    }
  }
}

}  // namespace weir::proxy
