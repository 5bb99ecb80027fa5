#include "proxy/metrics_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace weir::proxy {

namespace {
constexpr Duration kClientMax = std::chrono::seconds(10);

const char* phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    default: return "Bad Request";
  }
}
}  // namespace

struct MetricsServer::Client final : net::FdHandler {
  Client(MetricsServer& owner_in, uint64_t id_in, int fd_in)
      : owner(owner_in), id(id_in), fd(fd_in), opened(owner_in.loop_.now()) {
    owner.loop_.watch(fd, EPOLLIN | EPOLLRDHUP, this);
  }
  ~Client() {
    owner.loop_.unwatch(fd, this);
    close(fd);
  }
  void on_ready(uint32_t) override {
    if (over) return;
    if (!out.empty()) return write_some();
    read_some();
  }
  void read_some() {
    char bytes[1024];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return end();
    if (asked) return;  // the answer is being made; what else comes is dropped
    in.append(bytes, static_cast<size_t>(n));
    if (in.size() > kRequestBytesMax) return respond(400, "The request is too long.\n");
    if (in.find("\r\n\r\n") == std::string::npos) return;
    asked = true;
    std::string line = in.substr(0, in.find("\r\n"));
    if (!line.starts_with("GET ")) return respond(405, "Only GET is taken here.\n");
    std::string path = line.substr(4, line.find_first_of(" ?", 4) - 4);
    if (path != "/metrics") return respond(404, "The metrics are at /metrics.\n");
    owner.source_([server = &owner, client = id](std::string page) { server->answer(client, 200, std::move(page)); });
  }
  void respond(int status, std::string body) {
    asked = true;
    out = "HTTP/1.1 " + std::to_string(status) + " " + phrase(status) +
          "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: " +
          std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
    write_some();
  }
  void write_some() {
    while (sent < out.size()) {
      ssize_t n = send(fd, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return owner.loop_.rewatch(fd, EPOLLOUT, this);
      if (n < 0) return end();
      sent += static_cast<size_t>(n);
    }
    shutdown(fd, SHUT_WR);
    end();
  }
  void end() {
    over = true;
    owner.loop_.rewatch(fd, 0, this);
    owner.loop_.post([server = &owner, client = id] { server->remove(client); });
  }

  MetricsServer& owner;
  uint64_t id;
  int fd;
  TimePoint opened;
  bool asked = false;
  bool over = false;
  std::string in;
  std::string out;
  size_t sent = 0;
};

MetricsServer::MetricsServer(net::Loop& loop, int fd, Source source)
    : loop_(loop), fd_(fd), source_(std::move(source)), sweep_timer_([this] { sweep(); }) {
  loop_.watch(fd_, EPOLLIN, this);
}

MetricsServer::~MetricsServer() {
  clients_.clear();
  loop_.unwatch(fd_, this);
  close(fd_);
}

void MetricsServer::on_ready(uint32_t) {
  int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  if (clients_.size() >= kClientsMax) {
    close(fd);
    return;
  }
  clients_.push_back(std::make_unique<Client>(*this, next_id_++, fd));
  if (!sweep_timer_.armed()) loop_.arm(sweep_timer_, loop_.now() + kClientMax);
}

void MetricsServer::answer(uint64_t id, int status, std::string body) {
  for (auto& c : clients_) {
    if (c->id == id && !c->over) c->respond(status, std::move(body));
  }
}

void MetricsServer::remove(uint64_t id) {
  std::erase_if(clients_, [id](const auto& c) { return c->id == id; });
}

void MetricsServer::sweep() {
  TimePoint limit = loop_.now() - kClientMax;
  std::erase_if(clients_, [limit](const auto& c) { return c->opened <= limit; });
  if (!clients_.empty()) loop_.arm(sweep_timer_, loop_.now() + std::chrono::seconds(1));
}

}  // namespace weir::proxy
