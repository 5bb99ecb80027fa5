#include "net/message_socket.h"

#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"

namespace weir::net {

namespace {
constexpr size_t kFdsPerFrameMax = 253;  // SCM_MAX_FD: 50 listeners on five addresses fit
constexpr int kReadsPerTurn = 64;

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail("socket path is too long: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}
}  // namespace

MessageSocket::MessageSocket(Loop& loop, int fd, size_t frame_bytes_max, Events events)
    : loop_(loop), fd_(fd), frame_bytes_max_(frame_bytes_max), events_(std::move(events)) {
  loop_.watch(fd_, EPOLLIN, this);
}

MessageSocket::~MessageSocket() {
  for (int fd : fds_in_) close(fd);
  for (Out& out : out_) {
    for (int fd : out.fds) close(fd);
  }
  if (fd_ < 0) return;
  loop_.unwatch(fd_, this);
  close(fd_);
}

void MessageSocket::send(std::string frame, std::vector<int> fds) {
  if (fd_ < 0) return;
  WEIR_ASSERT(fds.size() <= kFdsPerFrameMax);
  for (int& fd : fds) {
    fd = dup(fd);  // ours until sent: the caller may close its own at once
    WEIR_ASSERT(fd >= 0);
  }
  unsent_bytes_ += frame.size();
  out_.push_back({std::move(frame), std::move(fds), 0});
  if (out_.size() == 1) write_some();
}

void MessageSocket::on_ready(uint32_t events) {
  if (events & EPOLLOUT) write_some();
  if (fd_ >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) read_some();
}

// Reads never cross the end of a frame: the kernel glues the bytes of a frame with descriptors to those before
// it, and the descriptors would seem to belong to the wrong one.
void MessageSocket::read_some() {
  for (int i = 0; i < kReadsPerTurn && fd_ >= 0; ++i) {
    size_t wanted = sizeof(uint32_t);
    if (in_.size() >= sizeof(uint32_t)) {
      uint32_t length;
      std::memcpy(&length, in_.data(), sizeof length);
      wanted += length;
    }
    if (!read_bytes(wanted - in_.size())) return;
    if (in_.size() < sizeof(uint32_t)) continue;
    uint32_t length;
    std::memcpy(&length, in_.data(), sizeof length);
    if (length > frame_bytes_max_) return close_with("frame of " + std::to_string(length) + " bytes");
    if (in_.size() < sizeof length + length) continue;
    std::vector<uint8_t> frame;
    std::vector<int> fds;
    frame.swap(in_);
    fds.swap(fds_in_);
    events_.on_frame({frame.data() + sizeof length, length}, std::move(fds));
  }
}

// One recvmsg(2) of at most `most` bytes; false when there is nothing more or the socket was closed.
bool MessageSocket::read_bytes(size_t most) {
  uint8_t bytes[65536];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsPerFrameMax)];
  iovec vec{bytes, std::min(most, sizeof bytes)};
  msghdr message{};
  message.msg_iov = &vec;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) {
    close_with(n == 0 ? "peer closed" : std::strerror(errno));
    return false;
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      fds_in_.push_back(fd);
    }
  }
  if (fds_in_.size() > kFdsPerFrameMax) {
    close_with("too many descriptors");
    return false;
  }
  in_.insert(in_.end(), bytes, bytes + n);
  return true;
}

void MessageSocket::write_some() {
  while (!out_.empty()) {
    Out& out = out_.front();
    iovec vec{out.bytes.data() + out.sent, out.bytes.size() - out.sent};
    msghdr message{};
    message.msg_iov = &vec;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsPerFrameMax)];
    if (out.sent == 0 && !out.fds.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * out.fds.size());
      cmsghdr* c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int) * out.fds.size());
      std::memcpy(CMSG_DATA(c), out.fds.data(), sizeof(int) * out.fds.size());
    }
    ssize_t n = sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (n < 0) return close_with(std::strerror(errno));
    out.sent += static_cast<size_t>(n);
    unsent_bytes_ -= static_cast<size_t>(n);
    if (out.sent < out.bytes.size()) continue;
    for (int fd : out.fds) close(fd);
    out_.erase(out_.begin());
  }
  bool want = !out_.empty();
  if (want != want_write_) {
    want_write_ = want;
    loop_.rewatch(fd_, EPOLLIN | (want ? static_cast<uint32_t>(EPOLLOUT) : 0u), this);
  }
}

void MessageSocket::close_with(const std::string& why) {
  loop_.unwatch(fd_, this);
  close(fd_);
  fd_ = -1;
  if (events_.on_close) events_.on_close(why);
}

Result<int> connect_unix(const std::string& path) {
  WEIR_TRY_ASSIGN(sockaddr_un address, unix_address(path));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail_errno("socket", errno);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    int code = errno;
    close(fd);
    return fail_errno("connect " + path, code);
  }
  return fd;
}

Result<int> listen_unix(const std::string& path) {
  WEIR_TRY_ASSIGN(sockaddr_un address, unix_address(path));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail_errno("socket", errno);
  unlink(path.c_str());
  mode_t before = umask(0177);
  int bound = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
  int code = errno;
  umask(before);
  if (bound != 0 || listen(fd, 16) != 0) {
    if (bound == 0) code = errno;
    close(fd);
    return fail_errno("listen " + path, code);
  }
  return fd;
}

Result<uint32_t> peer_uid(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return fail_errno("SO_PEERCRED", errno);
  return credentials.uid;
}

Result<int> listen_tcp(const std::string& address, uint16_t port) {
  sockaddr_storage storage{};
  socklen_t size = 0;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    size = sizeof *v4;
  } else if (inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    size = sizeof *v6;
  } else {
    return fail("'" + address + "' is not an IP address");
  }
  int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail_errno("socket", errno);
  int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, reinterpret_cast<sockaddr*>(&storage), size) != 0 || listen(fd, 4096) != 0) {
    int code = errno;
    close(fd);
    return fail_errno("listen on " + address + ":" + std::to_string(port), code);
  }
  return fd;
}

}  // namespace weir::net
