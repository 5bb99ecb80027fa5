#include "net/sockets.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace weir::net {

namespace {

// A peer that vanished is noticed after kUserTimeoutMs while bytes wait for its acknowledgement, else after idle +
// interval (the kernel asks no more often where a user timeout is set).
constexpr int kUserTimeoutMs = 40000;
constexpr int kKeepaliveIdleSeconds = 30;
constexpr int kKeepaliveIntervalSeconds = 10;

class SystemSockets final : public Sockets {
 public:
  ssize_t receive(int fd, void* out, size_t size) override {
    ssize_t n = ::recv(fd, out, size, 0);
    return n < 0 ? -errno : n;
  }
  ssize_t send(int fd, const void* bytes, size_t size) override {
    ssize_t n = ::send(fd, bytes, size, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
  }
  int connect(const sockaddr_storage& address, socklen_t size) override {
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &kKeepaliveIdleSeconds, sizeof kKeepaliveIdleSeconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &kKeepaliveIntervalSeconds, sizeof kKeepaliveIntervalSeconds);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof kUserTimeoutMs);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 || errno == EINPROGRESS) return fd;
    int error = errno;
    ::close(fd);
    return -error;
  }
  int connect_error(int fd) override {
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
  }
  void shutdown_write(int fd) override { ::shutdown(fd, SHUT_WR); }
  size_t unacknowledged(int fd) override {
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<size_t>(bytes) : 0;
  }
  void close(int fd) override { ::close(fd); }
};

}  // namespace

Sockets& system_sockets() {
  static SystemSockets sockets;
  return sockets;
}

}  // namespace weir::net
