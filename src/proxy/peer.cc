#include "proxy/peer.h"

#include <sys/epoll.h>

#include "proxy/worker.h"

namespace weir::proxy {

namespace {
// A peer that does not read is not read either, once this much waits for it.
constexpr size_t kOutputPauseBytes = 1u << 20;
}  // namespace

Peer::Peer(Worker& worker, const http::h2::ConnectionOptions& options)
    : worker_(worker), connection_(options, worker.h2_shared(), *this) {}

Peer::~Peer() {
  if (transport_ != nullptr && interest_ != 0) worker_.loop().unwatch(transport_->fd(), this);
}

void Peer::watch(std::unique_ptr<net::Transport> transport, uint32_t events) {
  transport_ = std::move(transport);
  interest_ = events;
  worker_.loop().watch(transport_->fd(), events, this);
}

void Peer::mark_dirty() {
  if (dirty_ || dead_) return;
  dirty_ = true;
  push_dirty();
}

void Peer::on_ready(uint32_t events) {
  if (dead_) return;
  if (!connected_ && !before_read()) return;
  if (lingering_) return discard_input();
  if (events & EPOLLOUT) mark_dirty();
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) read_once();
}

void Peer::read_once() {
  std::span<const uint8_t> bytes;
  bool handshake_before = transport_->handshake_done();
  net::Io io = transport_->read(worker_.scratch(), bytes);
  if (!handshake_before && transport_->handshake_done()) mark_dirty();
  if (!bytes.empty()) {
    bool alive = connection_.receive(bytes, worker_.now());
    if (dead_) return;
    if (!alive) {  // GOAWAY stands in the output; flush() sends it and lingers
      mark_dirty();
      return;
    }
    if (connection_.pending_bytes() > 0) mark_dirty();
  }
  if (transport_->wants_write()) mark_dirty();
  if (io == net::Io::Closed || io == net::Io::Failed) {
    on_over(io == net::Io::Closed ? "closed by the peer" : transport_->error());
  }
}

void Peer::discard_input() {
  std::span<const uint8_t> bytes;
  net::Io io = transport_->read(worker_.scratch(), bytes);
  if (io == net::Io::Closed || io == net::Io::Failed) retire();
}

void Peer::flush() {
  dirty_ = false;
  connection_.output_flushed();
  if (dead_ || !connected_) return;
  uint64_t written_before = transport_->bytes_written();
  net::Io io;
  do {
    connection_.pump();
    connection_.note_output_size();
    io = transport_->write(connection_.output());
    connection_.output_flushed();
  } while (io == net::Io::Ok && !connection_.output().empty() && transport_->handshake_done());
  dirty_ = false;
  bool progress = transport_->bytes_written() != written_before;
  if (progress) on_written();
  if (io == net::Io::Failed) return on_over(transport_->error());
  if (!transport_->wants_write()) {
    blocked_since_ = {};
  } else if (progress || blocked_since_ == TimePoint{}) {  // a slow reader that reads is not stalled
    blocked_since_ = worker_.now();
  }
  if (connection_.failed() && !transport_->wants_write()) {
    on_over(connection_.error_detail());
    return;
  }
  update_interest();
}

void Peer::update_interest() {
  if (lingering_) return;
  uint32_t wanted = 0;
  if (connection_.output().size() < kOutputPauseBytes) wanted |= EPOLLIN | EPOLLRDHUP;
  if (transport_->wants_write()) wanted |= EPOLLOUT;
  if (wanted == 0) wanted = EPOLLRDHUP;
  if (wanted == interest_) return;
  interest_ = wanted;
  worker_.loop().rewatch(transport_->fd(), wanted, this);
}

void Peer::linger() {
  if (lingering_ || dead_) return;
  lingering_ = true;
  transport_->shutdown_write();
  interest_ = EPOLLIN;
  worker_.loop().rewatch(transport_->fd(), interest_, this);
}

void Peer::retire() {
  if (dead_) return;
  dead_ = true;
  if (transport_ != nullptr && interest_ != 0) {
    worker_.loop().unwatch(transport_->fd(), this);
    interest_ = 0;
  }
  push_retired();
}

}  // namespace weir::proxy
