// What many sockets cost a program that does nothing else: one exchange of small messages at a time over a number of
// loopback connections that take turns, as a balancer has them with its targets. CPU time of the asking side as the
// kernel accounts it. There is no other work, so its growth with the number of connections is the kernel's alone.
//
//   socket_floor [--connections 2,1000] [--rounds 5] [--seconds 1]
//
// Both sides run where they are put (taskset). One line per size, and one JSON object at the end.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr size_t kAskBytes = 180, kAnswerBytes = 130;  // what a unary call of 100 bytes takes towards its target

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

int checked(int result, const char* what) {
  if (result < 0) die(what);
  return result;
}

void no_delay(int fd) {
  int one = 1;
  checked(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), "TCP_NODELAY");
}

void watch(int epoll, int fd) {
  epoll_event event{EPOLLIN, {.fd = fd}};
  checked(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

// Answers each message; ends with its parent.
[[noreturn]] void serve(int listener) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int epoll = checked(epoll_create1(0), "epoll_create1");
  watch(epoll, listener);
  char bytes[4096] = {};
  for (;;) {
    epoll_event events[64];
    int n = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < n; ++i) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        int accepted = checked(accept(listener, nullptr, nullptr), "accept");
        no_delay(accepted);
        watch(epoll, accepted);
      } else if (recv(fd, bytes, sizeof bytes, 0) <= 0) {
        close(fd);
      } else {
        checked(static_cast<int>(send(fd, bytes, kAnswerBytes, MSG_NOSIGNAL)), "send");
      }
    }
  }
}

double cpu_us() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto us = [](const timeval& t) { return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec); };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

class Asker {
 public:
  Asker(const sockaddr_in& to, size_t connections) : epoll_(checked(epoll_create1(0), "epoll_create1")) {
    for (size_t i = 0; i < connections; ++i) {
      int fd = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
      checked(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), "connect");
      no_delay(fd);
      watch(epoll_, fd);
      fds_.push_back(fd);
    }
    for (size_t i = 0; i < 3 * connections; ++i) ask();
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;
  ~Asker() {
    for (int fd : fds_) close(fd);
    close(epoll_);
  }
  // CPU microseconds per exchange.
  double measure(std::chrono::duration<double> time) {
    auto until = std::chrono::steady_clock::now() + time;
    double before = cpu_us();
    size_t done = 0;
    do {
      for (int i = 0; i < 100; ++i) ask();
      done += 100;
    } while (std::chrono::steady_clock::now() < until);
    return (cpu_us() - before) / static_cast<double>(done);
  }

 private:
  void ask() {
    int fd = fds_[next_++ % fds_.size()];
    checked(static_cast<int>(send(fd, bytes_, kAskBytes, MSG_NOSIGNAL)), "send");
    epoll_event event{};
    while (checked(epoll_wait(epoll_, &event, 1, -1), "epoll_wait") == 0) continue;
    if (event.data.fd != fd || recv(fd, bytes_, sizeof bytes_, 0) != static_cast<ssize_t>(kAnswerBytes)) {
      std::fputs("socket_floor: an answer went wrong\n", stderr);
      std::exit(1);
    }
  }
  int epoll_;
  std::vector<int> fds_;
  size_t next_ = 0;
  char bytes_[4096] = {};
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<size_t> sizes{2, 1000};
  int rounds = 5;
  double seconds = 1;
  bool good = argc % 2 == 1;  // options have values
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string option = argv[i];
    if (option == "--connections") {
      sizes.clear();
      for (char* at = std::strtok(argv[i + 1], ","); at != nullptr; at = std::strtok(nullptr, ",")) {
        sizes.push_back(std::strtoul(at, nullptr, 10));
      }
    } else if (option == "--rounds") {
      rounds = std::clamp(std::atoi(argv[i + 1]), 1, 100);
    } else if (option == "--seconds") {
      seconds = std::clamp(std::atof(argv[i + 1]), 0.1, 60.0);
    } else {
      good = false;
    }
  }
  if (!good || sizes.empty() || *std::min_element(sizes.begin(), sizes.end()) == 0 ||
      *std::max_element(sizes.begin(), sizes.end()) > 10000) {
    std::fputs("socket_floor [--connections 2,1000] [--rounds 5] [--seconds 1]\n", stderr);
    return 2;
  }
  rlimit files{24000, 24000};
  setrlimit(RLIMIT_NOFILE, &files);
  int listener = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  checked(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
  checked(listen(listener, 4096), "listen");
  checked(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
  pid_t server = checked(fork(), "fork");
  if (server == 0) serve(listener);
  std::map<size_t, std::vector<double>> found;
  for (int round = 0; round < rounds; ++round) {
    for (size_t size : sizes) found[size].push_back(Asker(address, size).measure(std::chrono::duration<double>(seconds)));
  }
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  std::string json;
  for (size_t size : sizes) {
    double value = median(found[size]);
    std::printf("%6zu connections  %7.2f us of CPU per exchange  %+.2f\n", size, value, value - median(found[sizes[0]]));
    char text[64];
    std::snprintf(text, sizeof text, "%s\"%zu\": %.3f", json.empty() ? "" : ", ", size, value);
    json += text;
  }
  std::printf("{\"cpu_us_per_exchange\": {%s}}\n", json.c_str());
  return 0;
}
