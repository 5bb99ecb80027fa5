#include "proxy/downstream.h"

#include <sys/epoll.h>

#include <array>

#include "base/log.h"
#include "grpc/status.h"
#include "proxy/worker.h"

namespace weir::proxy {

using http::Field;
using http::Token;
using http::h2::ErrorCode;

namespace {
constexpr Duration kHandshakeMax = std::chrono::seconds(10);
constexpr Duration kHeaderBlockMax = std::chrono::seconds(10);
constexpr Duration kWriteStallMax = std::chrono::seconds(60);
constexpr Duration kGoawayRoundTrip = std::chrono::seconds(1);
constexpr Duration kLingerMax = std::chrono::seconds(2);

Field field(std::string_view name, std::string_view value) {
  return {name, value, http::field_hash(name, value), http::token_of(name), false};
}
}  // namespace

Downstream::Downstream(Worker& worker, int fd, std::string client_address,
                       std::shared_ptr<ListenerState> listener)
    : Peer(worker, worker.downstream_options()),
      client_address_(std::move(client_address)),
      listener_(std::move(listener)),
      port_text_(std::to_string(listener_->config.port)),
      opened_(worker.now()) {
  forwarded_[0] = field("x-forwarded-proto", listener_->tls ? "https" : "http");
  forwarded_[1] = field("x-forwarded-port", port_text_);
  forwarded_[2] = field("x-forwarded-for", client_address_);
  auto transport = listener_->tls != nullptr
                       ? std::make_unique<net::Transport>(worker.buffers(), fd, listener_->tls)
                       : std::make_unique<net::Transport>(worker.buffers(), fd);
  watch(std::move(transport), EPOLLIN | EPOLLRDHUP);
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
    worker_.start_exchange(*this, self_, handle, s, event);
  } else {
    worker_.forward_request_trailers(unpack(s.user), event.list);
  }
}

void Downstream::on_data(http::h2::StreamHandle, http::h2::Stream& s, std::span<const uint8_t> bytes,
                         bool end_stream) {
  worker_.forward_request_data(unpack(s.user), bytes, end_stream);
}

void Downstream::on_reset(http::h2::StreamHandle, http::h2::Stream& s, ErrorCode, ResetBy) {
  worker_.client_cancelled(unpack(s.user));
}

void Downstream::on_sent(http::h2::StreamHandle, http::h2::Stream& s, size_t bytes) {
  worker_.return_credit_upstream(unpack(s.user), bytes);
}

void Downstream::reply(http::h2::StreamHandle stream, const Reply& r) {
  std::string message = grpc::encode_message(r.message);
  std::string_view code = grpc::to_decimal(static_cast<grpc::Code>(r.grpc_code));
  if (r.responded && !r.is_grpc) return connection_.reset(stream, ErrorCode::InternalError);
  if (r.responded) {
    std::array trailers{field("grpc-status", code), field("grpc-message", message)};
    connection_.send_headers(stream, trailers, true);
  } else if (r.is_grpc) {
    std::array head{field(":status", "200"), field("content-type", "application/grpc"),
                    field("grpc-status", code), field("grpc-message", message)};
    connection_.send_headers(stream, head, true);
  } else {
    std::string status = std::to_string(r.http_status);
    std::string length = std::to_string(r.message.size() + 1);
    std::array head{field(":status", status), field("server", "awselb/2.0"),
                    field("content-type", "text/plain"), field("content-length", length)};
    connection_.send_headers(stream, head, false);
    std::string body = std::string(r.message) + "\n";
    connection_.send_data(stream, {reinterpret_cast<const uint8_t*>(body.data()), body.size()}, true);
  }
  connection_.reset_after_end(stream);
}

void Downstream::end_all_exchanges() {
  std::vector<ExchangeHandle> open;
  connection_.for_each_stream([&](http::h2::StreamHandle handle) {
    http::h2::Stream* s = worker_.h2_shared().streams.resolve(handle);
    if (s != nullptr) open.push_back(unpack(s->user));
  });
  for (ExchangeHandle e : open) worker_.client_cancelled(e);
}

void Downstream::on_over(std::string_view why) {
  if (over_since_ != TimePoint{}) return;
  over_since_ = worker_.now();
  end_all_exchanges();
  if (!connection_.failed()) return retire();
  worker_.counters().connections_failed += 1;
  log_line(LogLevel::Debug, "downstream client=" + client_address_ + " over: " + std::string(why));
  linger();
}

void Downstream::drain() {
  if (drain_started_ != TimePoint{} || dead()) return;
  drain_started_ = worker_.now();
  connection_.announce_goaway();
  connection_.ping(1);
}

void Downstream::tick(TimePoint now) {
  if (dead()) return;
  if (over_since_ != TimePoint{}) {
    if (now - over_since_ > kLingerMax) retire();
    return;
  }
  if (!connection_.preface_done() && now - opened_ > kHandshakeMax) return retire();
  if (!connection_.has_partial_input()) {
    partial_since_ = {};
  } else if (partial_since_ == TimePoint{}) {
    partial_since_ = now;
  } else if (now - partial_since_ > kHeaderBlockMax && connection_.stream_count() == 0) {
    end_all_exchanges();
    return retire();
  }
  if (write_stalled_since(now - kWriteStallMax)) {
    end_all_exchanges();
    return retire();
  }
  auto keep_alive = std::chrono::milliseconds(worker_.snapshot().client_keep_alive_ms);
  if (listener_->removed || now - opened_ > keep_alive) drain();
  if (drain_started_ != TimePoint{}) {
    if (connection_.pings_acked() > 0 || now - drain_started_ > kGoawayRoundTrip) connection_.finish_goaway();
    if (connection_.stream_count() == 0 && connection_.output().empty() &&
        now - drain_started_ > kGoawayRoundTrip) {
      over_since_ = now;
      linger();
    }
  }
}

}  // namespace weir::proxy
