// What downstream and upstream connections have in common: a transport and an HTTP/2 connection, read when
// readable, flushed once per turn, destroyed at the end of a turn.
#pragma once

#include "http/h2/connection.h"
#include "net/loop.h"
#include "net/transport.h"
#include "proxy/defences.h"
#include "proxy/limits.h"

namespace weir::proxy {

class Worker;

class Peer : public net::FdHandler, public http::h2::Sink {
 public:
  Peer(Worker& worker, const http::h2::ConnectionOptions& options);
  virtual ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  http::h2::Connection& connection() { return connection_; }
  bool dead() const { return dead_; }
  http::h2::EndReason end_reason() const { return end_reason_; }  // None while it lives
  // Writes what the turn produced. Called by the worker at the end of the turn.
  void flush();
  // True when the peer has taken less than kDrainBytesMin since `since` although there is more for it.
  bool write_stalled_since(TimePoint since) const {
    return blocked_since_ != TimePoint{} && blocked_since_ <= since;
  }

  // http::h2::Sink
  void on_output() override { mark_dirty(); }
  size_t write_through(Buffer& output, std::span<const uint8_t> bytes) override;

 protected:
  void on_ready(uint32_t events) override;
  // Puts this peer on the worker's flush list, once.
  void mark_dirty();
  void watch(std::unique_ptr<net::Transport> transport, uint32_t events);
  // The connection is over: detach what hangs on it, then retire. `why` is for the log.
  virtual void on_over(std::string_view why) = 0;
  void over(http::h2::EndReason reason, std::string_view why) {
    end_because(reason);
    on_over(why);
  }
  // The first reason stands, and is counted.
  void end_because(http::h2::EndReason reason);
  // The TLS handshake is done; called once.
  virtual void on_handshake() {}
  // The socket took bytes of the HTTP/2 connection in this flush.
  virtual void on_written() {}
  // Readiness while not connected yet (upstream); true: go on reading.
  virtual bool before_read() { return true; }
  // flush() wrote everything and the connection has failed or is finished: close in order.
  void linger();
  uint64_t discarded() const { return discarded_; }
  TimePoint last_discarded() const { return last_discarded_; }  // zero: nothing came while it lingered
  void retire();

  Worker& worker_;
  std::unique_ptr<net::Transport> transport_;
  http::h2::Connection connection_;
  bool connected_ = true;

 private:
  friend class Worker;
  void read_once(uint32_t events);
  void discard_input(uint32_t events);
  void look_again();
  void set_interest(uint32_t events);
  bool too_many_late_messages();
  void update_interest();
  virtual void push_dirty() = 0;
  virtual void push_retired() = 0;

  uint32_t interest_ = 0;
  TimePoint blocked_since_{};
  uint64_t written_when_blocked_ = 0;
  SideDefences& counts_;
  http::h2::Budget late_messages_{kLateMessageRate};
  http::h2::EndReason end_reason_ = http::h2::EndReason::None;
  bool dirty_ = false;
  bool dead_ = false;
  uint64_t discarded_ = 0;  // bytes that came while it lingered
  TimePoint last_discarded_{};
  bool lingering_ = false;
};

}  // namespace weir::proxy
