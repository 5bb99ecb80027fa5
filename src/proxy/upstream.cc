#include "proxy/upstream.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "proxy/worker.h"

namespace weir::proxy {

using http::h2::ErrorCode;

namespace {
constexpr Duration kConnectMax = std::chrono::seconds(10);  // alb.md 4.2
constexpr Duration kWriteStallMax = std::chrono::seconds(60);

constexpr Duration kSettingsMax = std::chrono::seconds(10);
}  // namespace

int Upstream::open_socket(const Target& target) {
  int fd = socket(target.socket_address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    log_error("target=" + target.address + " no socket: " + std::strerror(errno));
    return -1;
  }
  int one = 1;
  int user_timeout_ms = 30000;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof user_timeout_ms);
  auto* address = reinterpret_cast<const sockaddr*>(&target.socket_address);
  if (connect(fd, address, target.socket_address_size) == 0 || errno == EINPROGRESS) {
    return fd;  // the outcome shows when the socket becomes writable
  }
  log_info("target=" + target.address + ":" + std::to_string(target.port) + " connect: " + std::strerror(errno));
  close(fd);
  return -1;
}

Upstream::Upstream(Worker& worker, int fd, TargetHandle target_handle)
    : Peer(worker, worker.upstream_options()), target_(target_handle), opened_(worker.now()) {
  connected_ = false;
  watch(std::make_unique<net::Transport>(worker.buffers(), fd), EPOLLOUT);
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
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(transport_->fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    on_over(std::string("connect: ") + std::strerror(error));
    return false;
  }
  connected_ = true;
  worker_.set_reachable(target_, true);
  mark_dirty();
  return true;
}

void Upstream::on_headers(http::h2::StreamHandle, http::h2::Stream& s, const http::h2::HeadersEvent& event) {
  if (event.kind == http::h2::HeadersEvent::Kind::Informational) return;  // alb.md 4.9 #17
  worker_.forward_response_headers(unpack(s.user), event);
}

void Upstream::on_data(http::h2::StreamHandle handle, http::h2::Stream& s, std::span<const uint8_t> bytes,
                       bool end_stream) {
  worker_.forward_response_data(unpack(s.user), connection_, handle, bytes, end_stream);
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
  if (Target* t = worker_.targets().resolve(target_)) t->streams_known = connection_.peer_max_concurrent_streams();
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

void Upstream::on_over(std::string_view why) {
  if (over_) return;
  over_ = true;
  if (!connected_) worker_.set_reachable(target_, false);
  if (Target* t = worker_.targets().resolve(target_)) {
    std::erase(t->connections, self_);
    if (connection_.stream_count() > 0) {
      log_info("target=" + t->address + ":" + std::to_string(t->port) +
               " streams=" + std::to_string(connection_.stream_count()) + " lost: " + std::string(why));
    }
  }
  lose_all_exchanges(why);
  retire();
}

void Upstream::tick(TimePoint now) {
  if (dead()) return;
  if (!connected_ && now - opened_ > kConnectMax) return on_over("connect: timed out");
  if (connected_ && !connection_.preface_done() && now - opened_ > kSettingsMax) {
    return on_over("the target sent no HTTP/2 SETTINGS");
  }
  if (write_stalled_since(now - kWriteStallMax)) return on_over("the target reads nothing");
  Target* t = worker_.targets().resolve(target_);
  bool leaving = t == nullptr || t->removed || t->draining || connection_.goaway_received();
  if (leaving) close_when_idle();
}

}  // namespace weir::proxy
