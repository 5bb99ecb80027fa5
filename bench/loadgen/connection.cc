#include "loadgen/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace weir::bench {
namespace {

constexpr size_t kReadSize = 256u << 10;
constexpr std::string_view kCommand = "\x7fSTR";

}  // namespace

Connection::Connection(Run* run, SSL_CTX* context, const std::string& address, uint32_t source)
    : run_(run), requests_(run->path, run->authority, run->scheme) {
  size_t colon = address.rfind(':');
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &name.sin_addr);
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (source != 0) {
    setsockopt(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);  // the port is chosen by connect()
    sockaddr_in local{};
    local.sin_family = AF_INET;
    local.sin_addr.s_addr = htonl(source);
    if (bind(fd_, reinterpret_cast<sockaddr*>(&local), sizeof local) != 0) run_->error("bind");
  }
  connect(fd_, reinterpret_cast<sockaddr*>(&name), sizeof name);  // its failure shows at the first read
  if (context != nullptr) {
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, fd_);
    SSL_set_connect_state(ssl_);
    SSL_set_tlsext_host_name(ssl_, run->authority.c_str());
  }
}

Connection::~Connection() {
  if (ssl_ != nullptr) {
    if (finished_) SSL_shutdown(ssl_);
    SSL_free(ssl_);
    ERR_clear_error();
  }
  close(fd_);
}

bool Connection::give_up(const std::string& why) {
  run_->error(why);
  return false;
}

bool Connection::handshake() {
  if (ssl_ != nullptr) {
    int result = SSL_do_handshake(ssl_);
    if (result != 1) {
      int error = SSL_get_error(ssl_, result);
      if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return true;
      return give_up("handshake");
    }
    const unsigned char* protocol = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(ssl_, &protocol, &length);
    if (length != 2 || std::memcmp(protocol, "h2", 2) != 0) return give_up("alpn");
  }
  ready_ = true;
  greet();
  return true;
}

void Connection::greet() {
  out_ += kPreface;
  std::string settings;
  add_setting(settings, kInitialWindowSize, kStreamWindow);
  add_frame(out_, kSettings, 0, 0, settings);
  add_window_update(out_, 0, kConnectionWindow - 65535);
  for (uint32_t i = 0; i < run_->streams; i++) start();
}

bool Connection::on_ready(std::string& buffer, bool readable) {
  if (connecting_) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return give_up(std::string("connect: ") + std::strerror(error));
    connecting_ = false;
  }
  if (!ready_) {
    if (!handshake()) return false;
    if (!ready_) return true;
  }
  if (!readable) return true;
  // OpenSSL may hold decrypted bytes that epoll does not know of: read until it has no more.
  do {
    buffer.resize(rest_.size() + kReadSize);
    std::memcpy(buffer.data(), rest_.data(), rest_.size());
    ssize_t n = read_some(buffer.data() + rest_.size(), kReadSize);
    if (n == 0) break;
    if (n < 0) return give_up("closed by the peer");
    size_t used = 0;
    std::string_view input(buffer.data(), rest_.size() + static_cast<size_t>(n));
    if (!parse(input, &used)) return false;
    rest_.assign(input.substr(used));
  } while (ssl_ != nullptr && SSL_has_pending(ssl_));
  if (consumed_ >= kConnectionWindow / 2) {
    add_window_update(out_, 0, consumed_);
    consumed_ = 0;
  }
  return true;
}

// Bytes read, 0: nothing there, -1: over.
ssize_t Connection::read_some(char* to, size_t size) {
  if (ssl_ == nullptr) {
    ssize_t n = recv(fd_, to, size, 0);
    return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
  }
  size_t total = 0;
  while (total < size) {
    int n = SSL_read(ssl_, to + total, static_cast<int>(size - total));
    if (n <= 0) {
      int error = SSL_get_error(ssl_, n);
      ERR_clear_error();
      bool dry = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
      return total > 0 || dry ? static_cast<ssize_t>(total) : -1;
    }
    total += static_cast<size_t>(n);
    if (!SSL_has_pending(ssl_)) break;
  }
  return static_cast<ssize_t>(total);
}

bool Connection::parse(std::string_view input, size_t* used) {
  size_t at = 0;
  while (input.size() - at >= kFrameHeader) {
    FrameHeader header = read_frame_header(input.data() + at);
    if (header.length > kMaxFrame) return give_up("frame too large");
    if (input.size() - at < kFrameHeader + header.length) break;
    if (!on_frame(header, input.data() + at + kFrameHeader)) return false;
    at += kFrameHeader + header.length;
  }
  *used = at;
  return true;
}

bool Connection::on_frame(const FrameHeader& header, const char* payload) {
  if (block_stream_ != 0 && (header.type != kContinuation || header.stream != block_stream_)) {
    return give_up("a frame within a header block");
  }
  switch (header.type) {
    case kData:
      on_data(header, payload);
      return true;
    case kHeaders:
    case kContinuation:
      return on_headers(header, payload);
    case kReset:
      // A reset after the response is complete is a server's right (RFC 9113 §8.1).
      if (streams_.find(header.stream) == nullptr) return true;
      run_->error("reset " + std::to_string(header.length == 4 ? get32(payload) : 0));
      streams_.erase(header.stream);
      if (run_->mode == Mode::kUnary) start();
      return true;
    case kSettings:
      on_settings(header, payload);
      return true;
    case kPing:
      if (header.length == 8 && !(header.flags & kAck)) add_frame(out_, kPing, kAck, 0, {payload, 8});
      return true;
    case kGoaway:
      rejected_ = true;
      run_->error("goaway " + std::to_string(header.length >= 8 ? get32(payload + 4) : 0));
      return true;
    case kWindowUpdate:
      if (header.length == 4) on_window_update(header.stream, get32(payload) & 0x7fffffff);
      return true;
    default:
      return true;
  }
}

void Connection::on_settings(const FrameHeader& header, const char* payload) {
  if (header.flags & kAck) return;
  for (const char* p = payload; p + 6 <= payload + header.length; p += 6) {
    if (p[1] != kInitialWindowSize) continue;
    int64_t change = static_cast<int64_t>(get32(p + 2)) - initial_window_;
    streams_.each([change](uint32_t, Stream& stream) { stream.window += change; });
    initial_window_ = get32(p + 2);
  }
  add_frame_header(out_, 0, kSettings, kAck, 0);
}

void Connection::on_window_update(uint32_t id, uint32_t credit) {
  if (id == 0) {
    window_ += credit;
  } else if (Stream* stream = streams_.find(id)) {
    stream->window += credit;
  }
  std::vector<uint32_t> ids;
  ids.swap(waiting_);
  for (uint32_t waiting : ids) {
    Stream* stream = streams_.find(waiting);
    if (stream == nullptr || !stream->waiting) continue;
    stream->waiting = false;
    send_message(waiting, *stream);
  }
}

bool Connection::on_headers(const FrameHeader& header, const char* payload) {
  std::string_view part = header.type == kHeaders ? content_of(header, payload)
                                                  : std::string_view(payload, header.length);
  if (header.type == kHeaders) block_ends_ = (header.flags & kEndStream) != 0;
  if (!(header.flags & kEndHeaders) || block_stream_ != 0) {
    block_ += part;
    block_stream_ = header.stream;
    if (!(header.flags & kEndHeaders)) return true;
    part = block_;
  }
  ResponseBlock block = responses_.decode(part);
  block_stream_ = 0;
  block_.clear();
  if (!block.ok) return give_up("header block");
  Stream* stream = streams_.find(header.stream);
  if (stream == nullptr) return true;
  if (!stream->answered && block.http_status != 200) run_->error("status " + std::to_string(block.http_status));
  stream->answered = true;
  if (block_ends_) on_end(header.stream, *stream, block);
  return true;
}

void Connection::on_data(const FrameHeader& header, const char* payload) {
  consumed_ += header.length;
  Stream* stream = streams_.find(header.stream);
  if (stream == nullptr) return;
  stream->consumed += header.length;
  if (stream->consumed >= kStreamWindow / 2 && !(header.flags & kEndStream)) {
    add_window_update(out_, header.stream, stream->consumed);
    stream->consumed = 0;
  }
  size_t size = content_of(header, payload).size();
  stream->received += size;
  if (run_->mode == Mode::kBulk) {
    if (run_->measuring) run_->operations += size;
    if (stream->received == size) run_->echoed++;
  } else if (run_->mode != Mode::kUnary && run_->mode != Mode::kHandshake) {
    if (stream->received == stream->expected) on_reply(header.stream, *stream);
  }
  if (header.flags & kEndStream) {
    run_->error("ended without trailers");
    streams_.erase(header.stream);
  }
}

// A whole message has come back on a long stream.
void Connection::on_reply(uint32_t id, Stream& stream) {
  if (stream.expected == kMessagePrefix + run_->bytes) run_->echoed++;
  run_->replies++;
  if (run_->measuring) {
    run_->operations++;
    run_->latency.add(run_->now_us - stream.began_us);
  }
  if (run_->mode == Mode::kPingPong && run_->starting) send_message(id, stream);
}

void Connection::on_end(uint32_t id, Stream& stream, const ResponseBlock& block) {
  bool good = false;
  if (block.grpc_status != 0) {
    run_->error("grpc-status " + std::to_string(block.grpc_status));
  } else if (stream.received != stream.expected) {
    run_->error("body of " + std::to_string(stream.received) + " bytes");
  } else if (run_->mode != Mode::kUnary && run_->mode != Mode::kHandshake) {
    run_->error("stream ended");
  } else {
    good = true;
  }
  if (good && run_->measuring) {
    run_->operations++;
    run_->latency.add(run_->now_us - stream.began_us);
  }
  if (good) run_->echoed++;
  streams_.erase(id);
  if (run_->mode == Mode::kHandshake) {
    finished_ = good;
  } else if (run_->mode == Mode::kUnary) {
    start();
  }
}

void Connection::start() {
  if (!run_->starting || rejected_) return;
  uint32_t id = next_id_;
  next_id_ += 2;
  Stream& stream = streams_.insert(id);
  stream.window = initial_window_;
  stream.began_us = run_->now_us;
  add_frame_header(out_, requests_.next_size(), kHeaders, kEndHeaders, id);
  requests_.add(out_, run_->next_request++);
  send_message(id, stream);
}

void Connection::use_streams() {
  streams_.each([this](uint32_t id, Stream& stream) { send_message(id, stream); });
}

void Connection::send_message(uint32_t id, Stream& stream) {
  bool last = run_->mode == Mode::kUnary || run_->mode == Mode::kHandshake || run_->mode == Mode::kBulk;
  uint32_t bytes = run_->mode == Mode::kBulk ? 12 : run_->bytes;
  size_t size = kMessagePrefix + bytes;
  if (stream.window < static_cast<int64_t>(size) || window_ < static_cast<int64_t>(size)) {
    stream.waiting = true;
    waiting_.push_back(id);
    return;
  }
  stream.window -= static_cast<int64_t>(size);
  window_ -= static_cast<int64_t>(size);
  stream.expected += size;
  run_->started++;
  stream.began_us = run_->now_us;
  add_frame_header(out_, size, kData, last ? kEndStream : 0, id);
  char prefix[kMessagePrefix] = {};
  set32(prefix + 1, bytes);
  out_.append(prefix, sizeof prefix);
  if (run_->mode == Mode::kBulk) {
    char numbers[8];
    set32(numbers, UINT32_MAX);
    set32(numbers + 4, run_->bytes);
    out_ += kCommand;
    out_.append(numbers, sizeof numbers);
  } else {
    out_.append(bytes, 'q');
  }
}

bool Connection::flush() {
  while (ready_ && sent_ < out_.size()) {
    size_t left = out_.size() - sent_;
    ssize_t n;
    if (ssl_ == nullptr) {
      n = send(fd_, out_.data() + sent_, left, MSG_NOSIGNAL);
      if (n < 0 && errno == EAGAIN) return true;
    } else {
      n = SSL_write(ssl_, out_.data() + sent_, static_cast<int>(left));
      if (n <= 0 && SSL_get_error(ssl_, static_cast<int>(n)) == SSL_ERROR_WANT_WRITE) return true;
    }
    if (n <= 0) return give_up("write");
    sent_ += static_cast<size_t>(n);
    if (sent_ == out_.size()) {
      out_.clear();
      if (run_->mode == Mode::kIdle) out_.shrink_to_fit();
      sent_ = 0;
    }
  }
  return true;
}

}  // namespace weir::bench
