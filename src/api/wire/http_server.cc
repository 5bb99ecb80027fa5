#include "api/wire/http_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

namespace weir::api {

namespace http = boost::beast::http;

namespace {

constexpr size_t kReadBytes = 64 * 1024;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

const char* reason_of(int status) {
  return http::obsolete_reason(static_cast<http::status>(status)).data();
}

std::string head_of(const HttpResponse& response, bool keep_alive) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\n",
                                 response.status, reason_of(response.status), response.content_type,
                                 response.body.size(), keep_alive ? "keep-alive" : "close");
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  return head + "\r\n";
}

}  // namespace

std::string HttpRequest::header(const std::string& name) const {
  auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

class Connection;

struct HttpServer::Impl {
  class Listener;
  Impl(net::Loop& l, HttpLimits m, Handler h);
  ~Impl();
  void accepted(int fd, bool local_socket);
  void answer(uint64_t id, HttpResponse response);
  // Destroys the connection after the current turn: it may be on the call stack.
  void retire(uint64_t id);

  net::Loop& loop;
  HttpLimits limits;
  Handler handler;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::map<uint64_t, std::unique_ptr<Connection>> connections;
  uint64_t next_id = 1;
  // Posted calls of a destroyed server do nothing.
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

class HttpServer::Impl::Listener final : net::FdHandler {
 public:
  Listener(Impl& server, int fd, bool local_socket) : server_(server), fd_(fd), local_(local_socket) {
    server_.loop.watch(fd_, EPOLLIN, this);
  }
  ~Listener() {
    server_.loop.unwatch(fd_, this);
    close(fd_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

 private:
  void on_ready(uint32_t) override {
    constexpr int accepts_per_turn = 16;
    for (int i = 0; i < accepts_per_turn; ++i) {
      int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      server_.accepted(fd, local_);
    }
  }

  Impl& server_;
  int fd_;
  bool local_;
};

// One client. Reads until a request is whole, waits for the answer, writes it, goes on with what it has
// already read (pipelining).
class Connection final : net::FdHandler {
 public:
  Connection(HttpServer::Impl& server, uint64_t id, int fd, bool local)
      : server_(server), id_(id), fd_(fd), local_(local), timer_([this] { finish(); }) {
    start_parser();
    arm(server_.limits.idle_time);
    server_.loop.watch(fd_, EPOLLIN, this);
  }
  ~Connection() { release(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void answer(HttpResponse response) {
    if (fd_ < 0) return;
    bool keep = keep_alive_ && !closing_;
    closing_ = !keep;
    out_ += head_of(response, keep);
    out_ += response.body;
    waiting_ = false;
    arm(server_.limits.idle_time);
    write_some();
    if (fd_ >= 0 && out_.empty()) advance();
  }

 private:
  using Parser = http::request_parser<http::string_body>;

  void start_parser() {
    parser_.emplace();
    continued_ = false;
    parser_->eager(true);
    parser_->header_limit(static_cast<uint32_t>(server_.limits.header_bytes));
    parser_->body_limit(server_.limits.body_bytes);
  }

  void arm(Duration after) { server_.loop.arm(timer_, server_.loop.now() + after); }

  void on_ready(uint32_t events) override {
    if ((events & EPOLLOUT) != 0) write_some();
    if (fd_ < 0) return;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_some();
  }

  void read_some() {
    char buffer[kReadBytes];
    ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return finish();
    if (in_.empty() && !parser_->got_some()) arm(server_.limits.request_time);
    in_.append(buffer, static_cast<size_t>(got));
    advance();
  }

  // Parses what has been read and hands over requests until one waits for its answer. Handlers that answer
  // at once come back here through answer(): the loop goes on instead of nesting.
  void advance() {
    if (advancing_) return;
    advancing_ = true;
    while (fd_ >= 0 && !waiting_ && out_.empty() && !closing_ && !in_.empty()) {
      if (!parse_some()) break;
    }
    advancing_ = false;
    update_interest();
  }

  // False: more bytes are needed, or the connection is done.
  bool parse_some() {
    boost::system::error_code error;
    size_t used = parser_->put(boost::asio::buffer(in_), error);
    in_.erase(0, used);
    if (error && error != http::error::need_more) {
      refuse(error);
      return false;
    }
    if (parser_->is_done()) {
      deliver();
      return true;
    }
    if (parser_->is_header_done() && !continued_ && parser_->get().count(http::field::expect) != 0) {
      continued_ = true;
      static constexpr char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
      send(fd_, interim, sizeof interim - 1, MSG_NOSIGNAL);
    }
    if (used == 0 && in_.size() > server_.limits.header_bytes + kReadBytes) refuse(http::error::header_limit);
    return used != 0 && fd_ >= 0;
  }

  void refuse(const boost::system::error_code& error) {
    closing_ = true;
    HttpResponse response;
    response.status = error == http::error::body_limit     ? 413
                      : error == http::error::header_limit ? 431
                                                           : 400;
    response.content_type = "text/plain";
    response.body = "The request could not be read: " + error.message() + "\n";
    in_.clear();
    answer(std::move(response));
  }

  void deliver() {
    auto message = parser_->release();
    keep_alive_ = message.keep_alive();
    HttpRequest request;
    request.method = std::string(message.method_string());
    request.target = std::string(message.target());
    request.local_socket = local_;
    for (const auto& field : message) {
      std::string& value = request.headers[lower({field.name_string().data(), field.name_string().size()})];
      if (!value.empty()) value += ", ";
      value += std::string_view(field.value().data(), field.value().size());
    }
    request.body = std::move(message.body());
    start_parser();
    waiting_ = true;
    timer_.cancel();
    update_interest();
    auto& server = server_;
    server_.handler(request, [&server, alive = server_.alive, id = id_](HttpResponse response) {
      if (*alive) server.answer(id, std::move(response));
    });
  }

  void write_some() {
    while (!out_.empty()) {
      ssize_t sent = send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) return update_interest();
      if (sent < 0) return finish();
      out_.erase(0, static_cast<size_t>(sent));
    }
    if (closing_) return finish();
    if (!waiting_ && !in_.empty()) return advance();
    update_interest();
  }

  // Reading stops while a request is answered: a client that floods waits in its own socket buffer.
  void update_interest() {
    if (fd_ < 0) return;
    uint32_t wanted = out_.empty() ? 0 : static_cast<uint32_t>(EPOLLOUT);
    if (!waiting_ && out_.empty() && !closing_) wanted |= EPOLLIN;
    if (wanted == interest_) return;
    interest_ = wanted;
    server_.loop.rewatch(fd_, wanted, this);
  }

  void finish() {
    if (fd_ < 0) return;
    release();
    server_.retire(id_);
  }

  void release() {
    timer_.cancel();
    if (fd_ < 0) return;
    server_.loop.unwatch(fd_, this);
    // A reset would throw away an error answer that the client has not read yet.
    shutdown(fd_, SHUT_WR);
    close(fd_);
    fd_ = -1;
  }

  HttpServer::Impl& server_;
  uint64_t id_;
  int fd_;
  bool local_;
  net::Timer timer_;
  std::optional<Parser> parser_;
  std::string in_;
  std::string out_;
  uint32_t interest_ = EPOLLIN;
  bool advancing_ = false;
  bool continued_ = false;  // "100 Continue" was sent for this request
  bool waiting_ = false;
  bool keep_alive_ = true;
  bool closing_ = false;
};

void HttpServer::Impl::accepted(int fd, bool local_socket) {
  if (connections.size() >= limits.connections) {
    close(fd);
    return;
  }
  uint64_t id = next_id++;
  connections.emplace(id, std::make_unique<Connection>(*this, id, fd, local_socket));
}

void HttpServer::Impl::answer(uint64_t id, HttpResponse response) {
  auto found = connections.find(id);
  if (found != connections.end()) found->second->answer(std::move(response));
}

void HttpServer::Impl::retire(uint64_t id) {
  loop.post([this, guard = alive, id] {
    if (*guard) connections.erase(id);
  });
}

HttpServer::Impl::Impl(net::Loop& l, HttpLimits m, Handler h) : loop(l), limits(m), handler(std::move(h)) {}
HttpServer::Impl::~Impl() = default;

HttpServer::HttpServer(net::Loop& loop, HttpLimits limits, Handler handler)
    : impl_(std::make_unique<Impl>(loop, limits, std::move(handler))) {}

HttpServer::~HttpServer() { *impl_->alive = false; }

void HttpServer::serve(int listen_fd, bool local_socket) {
  impl_->listeners.push_back(std::make_unique<Impl::Listener>(*impl_, listen_fd, local_socket));
}

size_t HttpServer::connections() const { return impl_->connections.size(); }

}  // namespace weir::api
