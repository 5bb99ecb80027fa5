#include "proxy/peer.h"

#include <sys/epoll.h>

#include "proxy/limits.h"
#include "proxy/worker.h"

namespace weir::proxy {

using http::h2::EndReason;

namespace {
constexpr uint32_t kEnds = EPOLLHUP | EPOLLERR | EPOLLRDHUP;
}

Peer::Peer(Worker& worker, const http::h2::ConnectionOptions& options)
    : worker_(worker),
      connection_(options, worker.h2_shared(options.role), *this),
      counts_(worker.defences_of(options.role)) {}

Peer::~Peer() {
  if (transport_ != nullptr && interest_ != 0) worker_.loop().unwatch(transport_->fd(), this);
}

void Peer::watch(std::unique_ptr<net::Transport> transport, uint32_t events) {
  transport_ = std::move(transport);
  interest_ = events;
  worker_.loop().watch(transport_->fd(), events | EPOLLET, this);
}

void Peer::end_because(EndReason reason) {
  if (end_reason_ != EndReason::None) return;
  end_reason_ = reason;
  counts_.note_end(reason);
}

void Peer::mark_dirty() {
  if (dirty_ || dead_) return;
  dirty_ = true;
  push_dirty();
}

void Peer::on_ready(uint32_t events) {
  if (dead_) return;
  if (!connected_ && !before_read()) return;
  if (lingering_) return discard_input(events);
  if (events & EPOLLOUT) mark_dirty();
  if (events & (EPOLLIN | kEnds)) read_once(events);
}

// Readiness is told once. Who leaves bytes in the socket, or the end that may stand behind them, asks for it again.
// While nothing is to be read, update_interest() does when that is over.
void Peer::look_again() {
  if (interest_ & EPOLLIN) set_interest(interest_);
}

void Peer::set_interest(uint32_t events) {
  interest_ = events;
  worker_.loop().rewatch(transport_->fd(), events | EPOLLET, this);
}

void Peer::read_once(uint32_t events) {
  bool handshake_before = transport_->handshake_done();
  if (!handshake_before && !worker_.may_handshake()) return look_again();  // it has its turn
  std::span<const uint8_t> bytes;
  net::Io io = transport_->read(worker_.scratch(), bytes);
  if (!handshake_before && transport_->handshake_done()) {
    mark_dirty();
    on_handshake();
  }
  if (too_many_late_messages()) {
    connection_.fail(http::h2::ErrorCode::EnhanceYourCalm, EndReason::TlsMessageFlood,
                     "too many KeyUpdate messages or renegotiations");
    return mark_dirty();
  }
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
    if (io == net::Io::Closed) return over(EndReason::ClosedByPeer, "closed by the peer");
    return over(transport_->handshake_done() ? EndReason::Broken : EndReason::TlsError, transport_->error());
  }
  if (!transport_->drained() || (events & kEnds)) look_again();
}

void Peer::discard_input(uint32_t events) {
  std::span<const uint8_t> bytes;
  net::Io io = transport_->read(worker_.scratch(), bytes);
  discarded_ += bytes.size();
  if (!bytes.empty()) last_discarded_ = worker_.now();
  if (io == net::Io::Closed || io == net::Io::Failed || too_many_late_messages()) return retire();
  if (!transport_->drained() || (events & kEnds)) look_again();
}

bool Peer::too_many_late_messages() {
  uint32_t late = transport_->late_messages();
  return late > 0 && !late_messages_.spend(late, worker_.now());
}

size_t Peer::write_through(Buffer& output, std::span<const uint8_t> bytes) {
  return transport_ != nullptr && !dead_ ? transport_->write_through(output, bytes) : 0;
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
  if (progress && transport_->handshake_done()) {
    connection_.note_settings_sent(worker_.now());
    on_written();
  }
  if (io == net::Io::Failed) return over(EndReason::Broken, transport_->error());
  uint64_t written = transport_->bytes_written();
  if (!transport_->wants_write()) {
    blocked_since_ = {};
  } else if (blocked_since_ == TimePoint{} || written - written_when_blocked_ >= kDrainBytesMin) {
    blocked_since_ = worker_.now();  // a slow reader that reads is not stalled
    written_when_blocked_ = written;
  }
  if (connection_.failed()) end_because(connection_.end_reason());
  if (connection_.failed() && !transport_->wants_write()) {
    worker_.dump_frames(connection_.trace_id(), 0, connection_.error_detail());
    return on_over(connection_.error_detail());
  }
  update_interest();
}

void Peer::update_interest() {
  if (lingering_) return;
  uint32_t wanted = 0;
  if (connection_.output().size() < kOutputPauseBytes) wanted |= EPOLLIN | EPOLLRDHUP;
  if (transport_->wants_write()) wanted |= EPOLLOUT;
  if (wanted == 0) wanted = EPOLLRDHUP;
  if (wanted != interest_) set_interest(wanted);
}

void Peer::linger() {
  if (lingering_ || dead_) return;
  lingering_ = true;
  transport_->shutdown_write();
  set_interest(EPOLLIN | EPOLLRDHUP);
}

void Peer::retire() {
  if (dead_) return;
  dead_ = true;
  end_because(EndReason::Broken);
  if (transport_ != nullptr && interest_ != 0) {
    worker_.loop().unwatch(transport_->fd(), this);
    interest_ = 0;
  }
  push_retired();
}

}  // namespace weir::proxy
