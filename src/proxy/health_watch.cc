#include "proxy/health_watch.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include <algorithm>

#include "grpc/status.h"

namespace weir::proxy {

std::unique_ptr<net::Transport> dial(HealthContext& context, const std::string& address, uint16_t port, bool tls) {
  sockaddr_storage storage{};
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  socklen_t size = sizeof *v4;
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
  } else if (inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    size = sizeof *v6;
  } else {
    return nullptr;
  }
  net::Sockets& sockets = context.loop.sockets();
  int fd = sockets.connect(storage, size);
  if (fd < 0) return nullptr;
  if (tls) return std::make_unique<net::Transport>(context.shared.buffers, fd, context.tls, sockets);
  return std::make_unique<net::Transport>(context.shared.buffers, fd, sockets);
}

HealthWatch::HealthWatch(HealthContext& context, const model::HealthCheck& config, std::string address, uint16_t port,
                         Changed changed)
    : context_(context),
      config_(config),
      address_(std::move(address)),
      port_(port),
      changed_(std::move(changed)),
      timer_([this] { on_time(); }),
      settle_([this] { tell(); }) {
  context_.loop.arm(timer_, context_.loop.now());
}

HealthWatch::~HealthWatch() {
  if (transport_ != nullptr) context_.loop.unwatch(transport_->fd(), this);
}

void HealthWatch::connect() {
  transport_ = dial(context_, address_, port_, config_.tls);
  if (transport_ == nullptr) return end(pause_);
  connected_ = heard_ = false;
  pings_ = 0;
  call_ = std::make_unique<HealthCall>(config_, HealthCall::Kind::Watch, context_.shared);
  call_->start(address_ + ":" + std::to_string(port_));
  context_.loop.watch(transport_->fd(), EPOLLOUT, this);
  context_.loop.arm(timer_, context_.loop.now() + kFirstMessageMax);
}

void HealthWatch::on_time() {
  if (transport_ == nullptr) return connect();
  if (!heard_ || call_->connection().pings_acked() < pings_) return end(pause_);
  ++pings_;
  call_->connection().ping(pings_);
  flush();
  if (transport_ != nullptr) context_.loop.arm(timer_, context_.loop.now() + kPingInterval);
}

void HealthWatch::on_ready(uint32_t events) {
  if (!connected_) {
    if (context_.loop.sockets().connect_error(transport_->fd()) != 0) return end(pause_);
    connected_ = true;
    context_.loop.rewatch(transport_->fd(), EPOLLIN, this);
  }
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    std::span<const uint8_t> bytes;
    net::Io io = transport_->read(context_.scratch, bytes);
    bool alive = bytes.empty() || call_->receive(bytes, context_.loop.now());
    if (auto status = call_->take_status()) {
      if (!heard_) context_.loop.arm(timer_, context_.loop.now() + kPingInterval);
      heard_ = true;
      pause_ = kPauseMin;
      note(status);
    }
    if (call_->unimplemented()) return end(kUnimplementedPause);
    if (!alive || call_->over() || io == net::Io::Closed || io == net::Io::Failed) return end(pause_);
  }
  flush();
}

void HealthWatch::flush() {
  net::Io io = transport_->write(call_->connection().output());
  call_->connection().output_flushed();
  if (io == net::Io::Failed) return end(pause_);
  uint32_t wanted = transport_->wants_write() ? EPOLLIN | EPOLLOUT : EPOLLIN;
  context_.loop.rewatch(transport_->fd(), wanted, this);
}

// Told at once, or when the latest change has settled.
void HealthWatch::note(std::optional<grpc::ServingStatus> status) {
  status_ = status;
  if (settle_.armed()) return;
  TimePoint now = context_.loop.now();
  if (now - told_at_ >= kSettle) return tell();
  context_.loop.arm(settle_, told_at_ + kSettle);
}

void HealthWatch::tell() {
  if (status_ == told_) return;
  told_ = status_;
  told_at_ = context_.loop.now();
  changed_(status_);
}

void HealthWatch::end(Duration pause) {
  if (transport_ != nullptr) context_.loop.unwatch(transport_->fd(), this);
  transport_.reset();
  call_.reset();
  Duration jittered = pause * static_cast<int64_t>(80 + context_.random.below(41)) / 100;
  context_.loop.arm(timer_, context_.loop.now() + jittered);
  if (pause <= kPauseMax) pause_ = std::min<Duration>(pause_ * 2, kPauseMax);
  note(std::nullopt);
}

}  // namespace weir::proxy
