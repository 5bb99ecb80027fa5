#include "sim/channel.h"

#include <sys/epoll.h>

#include <cerrno>
#include <cstring>

namespace weir::sim {

Channel::Channel(net::Loop& loop, Network& network, int fd, Security security, ChannelUser& user)
    : loop_(loop), network_(network), fd_(fd), user_(user) {
  loop_.watch(fd_, EPOLLIN, this);
  if (security == Security::Clear) return;
  tls_ = std::make_unique<TlsEnd>(security == Security::Tls ? TlsEnd::Role::Client : TlsEnd::Role::Server);
  flush();
}

Channel::~Channel() { close(); }

void Channel::send(std::string_view bytes) {
  if (tls_ != nullptr) {
    tls_->write(bytes);
  } else {
    out_ += bytes;
  }
  flush();
}

void Channel::flush() {
  if (fd_ < 0) return;
  if (tls_ != nullptr) out_ += tls_->take_output();
  while (!out_.empty()) {
    ssize_t n = network_.send(fd_, out_.data(), out_.size());
    if (n < 0) break;  // a failure shows when reading
    out_.erase(0, static_cast<size_t>(n));
  }
  update();
}

void Channel::update() {
  uint32_t events = (reading_ ? EPOLLIN : 0u) | (out_.empty() ? 0u : EPOLLOUT);
  loop_.rewatch(fd_, events, this);
}

void Channel::set_reading(bool reading) {
  reading_ = reading;
  if (fd_ >= 0) update();
}

void Channel::on_ready(uint32_t events) {
  if (events & EPOLLOUT) flush();
  if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) == 0) return;
  char piece[16384];
  ssize_t n = network_.receive(fd_, piece, sizeof piece);
  if (n == -EAGAIN) return;
  if (n < 0) return end(std::strerror(static_cast<int>(-n)));
  if (n == 0) return end("");
  std::string_view bytes(piece, static_cast<size_t>(n));
  if (tls_ == nullptr) return user_.on_bytes(bytes);
  std::string plain;
  bool alive = tls_->read(bytes, plain);
  bool closed = tls_->closed();
  flush();
  if (!plain.empty()) user_.on_bytes(plain);
  if (fd_ < 0) return;
  if (!alive) return end("TLS failed");
  if (closed) end("");
}

void Channel::end(std::string_view error) {
  close();
  user_.on_closed(error);
}

void Channel::close() {
  if (fd_ < 0) return;
  loop_.unwatch(fd_, this);
  network_.close(fd_);
  fd_ = -1;
}

void Channel::reset() {
  if (fd_ < 0) return;
  network_.reset(fd_);
  close();
}

void Channel::shutdown_write() {
  if (fd_ < 0) return;
  if (tls_ != nullptr) {
    tls_->close_notify();
    flush();
  }
  network_.shutdown_write(fd_);
}

}  // namespace weir::sim
