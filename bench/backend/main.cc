// The bench backend: an HTTP/2 cleartext echo server of few instructions, so that what stands before it
// is what is measured. One thread.  backend --listen 127.0.0.1:PORT
// On SIGTERM it prints one line of JSON with what it served.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>

#include "backend/connection.h"

namespace {

using weir::bench::Connection;

volatile sig_atomic_t stop_asked = 0;

int listen_on(const std::string& address) {
  size_t colon = address.rfind(':');
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  if (inet_pton(AF_INET, address.substr(0, colon).c_str(), &name.sin_addr) != 1) return -1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 || listen(fd, 1024) != 0) return -1;
  return fd;
}

class Server {
 public:
  explicit Server(int listener) : listener_(listener), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = listener_}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
  }
  ~Server() { close(epoll_); }

  void run() {
    epoll_event events[256];
    while (!stop_asked) {
      int n = epoll_wait(epoll_, events, 256, 1000);
      for (int i = 0; i < n; i++) {
        if (events[i].data.fd == listener_) {
          accept_all();
        } else {
          serve(events[i].data.fd, events[i].events);
        }
      }
    }
  }

  const weir::bench::Counters& counters() const { return counters_; }

 private:
  struct Entry {
    std::unique_ptr<Connection> connection;
    uint32_t interest = EPOLLIN;
  };

  void accept_all() {
    for (int fd; (fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
      int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      entries_[fd] = {std::make_unique<Connection>(fd, &counters_)};
      epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
      epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
      counters_.connections++;
    }
  }

  void serve(int fd, uint32_t ready) {
    Entry& entry = entries_[fd];
    Connection& connection = *entry.connection;
    bool alive = true;
    if (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) alive = connection.on_readable(buffer_);
    if (!alive || !connection.flush()) {
      entries_.erase(fd);
      return;
    }
    uint32_t interest = (connection.wants_read() ? EPOLLIN : 0u) | (connection.wants_write() ? EPOLLOUT : 0u);
    if (interest == entry.interest) return;
    entry.interest = interest;
    epoll_event event{.events = interest, .data = {.fd = fd}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
  }

  const int listener_;
  const int epoll_;
  weir::bench::Counters counters_;
  std::string buffer_;
  std::unordered_map<int, Entry> entries_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::strcmp(argv[1], "--listen") != 0) {
    std::fprintf(stderr, "usage: backend --listen 127.0.0.1:PORT\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  struct sigaction action {};
  action.sa_handler = [](int) { stop_asked = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  int listener = listen_on(argv[2]);
  if (listener < 0) {
    std::fprintf(stderr, "backend: cannot listen on %s: %s\n", argv[2], std::strerror(errno));
    return 1;
  }
  Server server(listener);
  server.run();
  std::printf("{\"rpcs\":%llu,\"connections\":%llu}\n", static_cast<unsigned long long>(server.counters().rpcs),
              static_cast<unsigned long long>(server.counters().connections));
  return 0;
}
