#include "sim/network.h"

#include <netinet/in.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/assert.h"

namespace weir::sim {

const Network::End& Network::end(int fd) const {
  WEIR_ASSERT(fd >= kFirstFd && static_cast<size_t>(fd - kFirstFd) < ends_.size());
  const End& e = ends_[static_cast<size_t>(fd - kFirstFd)];
  WEIR_ASSERT(e.wire != nullptr);  // else: a descriptor is used after close()
  return e;
}

int Network::add_end(std::shared_ptr<Wire> wire, int side) {
  if (free_.empty()) {
    ends_.push_back({std::move(wire), side});
    return kFirstFd + static_cast<int>(ends_.size()) - 1;
  }
  std::pop_heap(free_.begin(), free_.end(), std::greater<>());
  int index = free_.back();
  free_.pop_back();
  ends_[static_cast<size_t>(index)] = {std::move(wire), side};
  return kFirstFd + index;
}

void Network::schedule(Event event) {
  Half& half = event.wire->to[event.side];
  const Line& line = event.wire->line;
  TimePoint at = clock_.now() + line.latency;
  if (line.jitter > Duration::zero()) at += Duration(random_.below(static_cast<uint64_t>(line.jitter.count())));
  half.last_arrival = at = std::max(at, half.last_arrival);
  events_.emplace(std::pair(at, ++sequence_), std::move(event));
}

ssize_t Network::receive(int fd, void* out, size_t size) {
  const End& e = end(fd);
  Half& half = e.wire->to[e.side];
  if (e.wire->connecting) return -EAGAIN;
  if (size_t unread = half.unread(); unread > 0) {
    size_t n = std::min({size, unread, draw(e.wire->line.receive_max)});
    std::memcpy(out, half.arrived.data() + half.head, n);
    if (n < std::min(size, unread)) e.wire->edge[e.side] = true;  // the rest comes just now
    if (half.bytes >= e.wire->line.capacity) e.wire->edge[1 - e.side] = true;
    half.head += n;
    half.bytes -= n;
    if (half.head == half.arrived.size()) {
      half.arrived.clear();
      half.head = 0;
    }
    return static_cast<ssize_t>(n);
  }
  if (half.error != 0) return -std::exchange(half.error, 0);
  return half.fin || half.over ? 0 : -EAGAIN;
}

ssize_t Network::send(int fd, const void* bytes, size_t size) {
  const End& e = end(fd);
  Wire& wire = *e.wire;
  Half& half = wire.to[1 - e.side];
  if (wire.connecting) return -EAGAIN;
  if (wire.to[e.side].error != 0) return -std::exchange(wire.to[e.side].error, 0);
  if (wire.to[e.side].over || wire.shut[e.side]) return -EPIPE;
  if (half.bytes >= wire.line.capacity || clock_.now() < half.clogged_until) return -EAGAIN;
  size_t n = std::min({size, wire.line.capacity - half.bytes, draw(wire.line.send_max)});
  half.bytes += n;
  if (n < size && wire.line.clogged > Duration::zero()) {
    half.clogged_until = clock_.now() + wire.line.clogged;
    events_.emplace(std::pair(half.clogged_until, ++sequence_), Event{Event::Kind::Wake, e.wire, 1 - e.side, {}, 0});
  }
  schedule({Event::Kind::Bytes, e.wire, 1 - e.side, std::string(static_cast<const char*>(bytes), n), 0});
  return static_cast<ssize_t>(n);
}

int Network::connect(const sockaddr_storage& address, socklen_t) {
  uint16_t port = ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  auto found = listeners_.find(port);
  if (found != listeners_.end() && found->second.answer == Listener::Answer::NoRoute) return -ENETUNREACH;
  auto wire = std::make_shared<Wire>();
  wire->connecting = true;
  if (found != listeners_.end()) wire->line = found->second.line;
  int fd = add_end(wire, 0);
  wire->open[1] = false;
  if (found == listeners_.end() || found->second.answer == Listener::Answer::Refuse) {
    schedule({Event::Kind::Refused, wire, 0, {}, port});
  } else if (found->second.answer == Listener::Answer::Accept) {
    schedule({Event::Kind::Connected, wire, 0, {}, port});
  }
  return fd;
}

int Network::connect_error(int fd) {
  const End& e = end(fd);
  return std::exchange(e.wire->to[e.side].error, 0);
}

void Network::shutdown_write(int fd) {
  const End& e = end(fd);
  if (e.wire->shut[e.side] || e.wire->to[e.side].over || e.wire->connecting) return;
  e.wire->shut[e.side] = true;
  schedule({Event::Kind::Fin, e.wire, 1 - e.side, {}, 0});
}

size_t Network::unacknowledged(int fd) {
  const End& e = end(fd);
  const Half& half = e.wire->to[1 - e.side];
  if (half.over) return 0;
  return half.bytes - half.unread() + (e.wire->shut[e.side] && !half.fin ? 1 : 0);
}

// Bytes that nobody read make close() a reset.
void Network::close(int fd) {
  const End e = end(fd);
  Wire& wire = *e.wire;
  wire.open[e.side] = false;
  if (!wire.connecting && !wire.to[e.side].over) {
    if (wire.to[e.side].unread() > 0) {
      schedule({Event::Kind::Reset, e.wire, 1 - e.side, {}, 0});
    } else if (!wire.shut[e.side]) {
      schedule({Event::Kind::Fin, e.wire, 1 - e.side, {}, 0});
    }
  }
  wire.shut[e.side] = true;
  size_t index = static_cast<size_t>(fd - kFirstFd);
  ends_[index] = {};
  free_.push_back(static_cast<int>(index));
  std::push_heap(free_.begin(), free_.end(), std::greater<>());
}

std::array<int, 2> Network::pair(const Line& line) {
  auto wire = std::make_shared<Wire>();
  wire->line = line;
  int a = add_end(wire, 0);
  int b = add_end(wire, 1);
  return {a, b};
}

void Network::reset(int fd) {
  const End& e = end(fd);
  for (int side : {0, 1}) {
    Event event{Event::Kind::Reset, e.wire, side, {}, 0};
    e.wire->to[side].last_arrival = {};  // it overtakes what is in flight
    schedule(std::move(event));
  }
}

uint32_t Network::readiness(int fd) const {
  const End& e = end(fd);
  const Wire& wire = *e.wire;
  const Half& in = wire.to[e.side];
  const Half& out = wire.to[1 - e.side];
  if (in.error != 0) return EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP;
  if (in.over) return EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP;
  if (wire.connecting) return 0;
  uint32_t events = 0;
  if (in.unread() > 0) events |= EPOLLIN;
  if (in.fin) events |= EPOLLIN | EPOLLRDHUP;
  if (in.fin && wire.shut[e.side]) events |= EPOLLHUP;
  if (out.bytes < wire.line.capacity && clock_.now() >= out.clogged_until) events |= EPOLLOUT;
  return events;
}

std::optional<TimePoint> Network::next_arrival() const {
  if (events_.empty()) return std::nullopt;
  return events_.begin()->first.first;
}

bool Network::quiet() const {
  auto unread = [](const End& e) { return e.wire != nullptr && e.wire->to[e.side].unread() > 0; };
  return events_.empty() && std::none_of(ends_.begin(), ends_.end(), unread);
}

void Network::deliver() {
  while (!events_.empty() && events_.begin()->first.first <= clock_.now()) {
    Event event = std::move(events_.begin()->second);
    events_.erase(events_.begin());
    arrive(event);
  }
}

void Network::arrive(Event& event) {
  Wire& wire = *event.wire;
  Half& half = wire.to[event.side];
  wire.edge[event.kind == Event::Kind::Wake ? 1 - event.side : event.side] = true;
  switch (event.kind) {
    case Event::Kind::Wake:
      return;
    case Event::Kind::Bytes:
      if (half.over) return;
      if (!wire.open[event.side]) {  // nobody is there any more: RST
        half.over = true;
        return schedule({Event::Kind::Reset, event.wire, 1 - event.side, {}, 0});
      }
      half.arrived += event.bytes;
      return;
    case Event::Kind::Fin:
      half.fin = true;
      return;
    case Event::Kind::Reset:
      if (half.over) return;
      half.over = true;
      half.error = ECONNRESET;
      if (random_.below(2) == 0) {  // what arrived may still be read, or not
        half.bytes -= half.unread();
        half.arrived.clear();
        half.head = 0;
      }
      return;
    case Event::Kind::Refused:
      half.error = ECONNREFUSED;
      half.over = true;
      wire.connecting = false;
      return;
    case Event::Kind::Connected:
      return on_connected(event);
  }
}

void Network::on_connected(Event& event) {
  Wire& wire = *event.wire;
  wire.connecting = false;
  auto found = listeners_.find(event.port);
  if (found == listeners_.end() || found->second.answer != Listener::Answer::Accept) {
    wire.to[0].error = ECONNREFUSED;
    wire.to[0].over = true;
    return;
  }
  wire.open[1] = true;
  int fd = add_end(event.wire, 1);
  if (!wire.open[0]) wire.to[1].fin = true;
  found->second.accepted(fd);
}

}  // namespace weir::sim
