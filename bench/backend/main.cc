// The bench backend: an HTTP/2 cleartext echo server of few instructions, so that what stands before it
// is what is measured. One thread.  backend --listen 127.0.0.1:PORT
// On SIGTERM it prints one line of JSON with what it served.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

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
  Server() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
  ~Server() { close(epoll_); }

  void add_listener(int fd) {
    listeners_.insert(fd);
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  void run() {
    epoll_event events[256];
    while (!stop_asked) {
      int n = epoll_wait(epoll_, events, 256, 1000);
      for (int i = 0; i < n; i++) {
        if (listeners_.contains(events[i].data.fd)) {
          accept_all(events[i].data.fd);
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

  void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
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

  const int epoll_;
  std::unordered_set<int> listeners_;
  weir::bench::Counters counters_;
  std::string buffer_;
  std::unordered_map<int, Entry> entries_;
};

}  // namespace

int main(int argc, char** argv) {
  Server server;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  struct sigaction action {};
  action.sa_handler = [](int) { stop_asked = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  for (int i = 1; i < argc; i += 2) {
    if (std::strcmp(argv[i], "--listen") != 0 || i + 1 == argc) argc = 0;
  }
  if (argc < 3) {
    std::fprintf(stderr, "usage: backend --listen 127.0.0.1:PORT [--listen ...]\n");
    return 2;
  }
  for (int i = 2; i < argc; i += 2) {
    int listener = listen_on(argv[i]);
    if (listener < 0) {
      std::fprintf(stderr, "backend: cannot listen on %s: %s\n", argv[i], std::strerror(errno));
      return 1;
    }
    server.add_listener(listener);
  }
  server.run();
  std::printf("{\"rpcs\":%llu,\"connections\":%llu}\n", static_cast<unsigned long long>(server.counters().rpcs),
              static_cast<unsigned long long>(server.counters().connections));
  return 0;
}
