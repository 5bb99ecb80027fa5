// A network of byte streams in memory with TCP's manners as a program sees them: latency, short reads and writes,
// bounded buffers, half-close, resets, refused and unanswered connects. Deterministic: what varies is drawn from the
// random numbers it was given.
//
//   end A ── send ──▶ [in flight, with arrival times] ──▶ [arrived] ── receive ──▶ end B
//
// Both ends are descriptors of this network: the load balancer's and those of the simulated clients and servers.
// Descriptors are reused at once, lowest first, as the kernel does.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "net/sockets.h"
#include "sim/clock.h"

namespace weir::sim {

// How one connection behaves.
struct Line {
  Duration latency{};            // each way
  Duration jitter{};             // added to it, per segment; order is kept
  size_t receive_max = SIZE_MAX; // bytes that one receive() gives: 1…max, drawn each time unless SIZE_MAX
  size_t send_max = SIZE_MAX;    // bytes that one send() takes, likewise
  size_t capacity = 256u << 10;  // bytes in flight and unread, each way
  Duration clogged{};            // after a short write nothing is taken for so long
};

class Network final : public net::Sockets {
 public:
  Network(const Clock& clock, Random random) : clock_(clock), random_(random) {}

  // --- what the load balancer sees (net::Sockets) ------------------------------------------------------------
  ssize_t receive(int fd, void* out, size_t size) override;
  ssize_t send(int fd, const void* bytes, size_t size) override;
  int connect(const sockaddr_storage& address, socklen_t size) override;
  int connect_error(int fd) override;
  void shutdown_write(int fd) override;
  size_t unacknowledged(int fd) override;
  void close(int fd) override;

  // --- what the world adds -----------------------------------------------------------------------------------
  // The two ends of a connection that is there.
  std::array<int, 2> pair(const Line& line);
  // What becomes of connections to a port of 10.0.0.0/8 (every address is the same host).
  struct Listener {
    enum class Answer : uint8_t { Accept, Refuse, Silence, NoRoute } answer = Answer::Accept;
    Line line;
    std::function<void(int fd)> accepted;
  };
  void listen(uint16_t port, Listener listener) { listeners_[port] = std::move(listener); }
  // RST: both ends fail, bytes that have not arrived are lost.
  void reset(int fd);
  // EPOLLIN, EPOLLOUT, … as epoll(7) would report them.
  uint32_t readiness(int fd) const;
  // Something has come, or there is room again, since the last call: what edge-triggered watchers are told.
  bool has_edge(int fd) const { return end(fd).wire->edge[end(fd).side]; }
  bool take_edge(int fd) { return std::exchange(end(fd).wire->edge[end(fd).side], false); }
  std::optional<TimePoint> next_arrival() const;
  // Moves what is due by now.
  void deliver();
  // Nothing is on its way and nothing waits to be read.
  bool quiet() const;
  size_t open_ends() const { return ends_.size() - free_.size(); }

 private:
  struct Half {              // the bytes towards one end
    std::string arrived;
    size_t head = 0;         // of `arrived`: read so far
    size_t bytes = 0;        // in flight and unread
    TimePoint last_arrival{};
    TimePoint clogged_until{};
    bool fin = false;        // arrived
    int error = 0;           // not told yet
    bool over = false;       // reset: nothing moves any more
    size_t unread() const { return arrived.size() - head; }
  };
  struct Wire {
    Line line;
    Half to[2];
    bool open[2] = {true, true};
    bool shut[2] = {false, false};  // this end writes no more
    bool connecting = false;
    bool edge[2] = {false, false};
  };
  struct End {
    std::shared_ptr<Wire> wire;  // null: free
    int side = 0;
  };
  struct Event {
    enum class Kind : uint8_t { Bytes, Fin, Reset, Connected, Refused, Wake } kind;
    std::shared_ptr<Wire> wire;
    int side = 0;            // the end it arrives at
    std::string bytes;
    uint16_t port = 0;
  };
  static constexpr int kFirstFd = 1000;

  const End& end(int fd) const;
  int add_end(std::shared_ptr<Wire> wire, int side);
  void schedule(Event event);
  void arrive(Event& event);
  void on_connected(Event& event);
  size_t draw(size_t limit) { return limit == SIZE_MAX ? limit : 1 + random_.below(limit); }

  const Clock& clock_;
  Random random_;
  std::vector<End> ends_;
  std::vector<int> free_;  // a heap, lowest first
  std::map<uint16_t, Listener> listeners_;
  std::map<std::pair<TimePoint, uint64_t>, Event> events_;
  uint64_t sequence_ = 0;
};

}  // namespace weir::sim
