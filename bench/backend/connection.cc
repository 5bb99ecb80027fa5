#include "backend/connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace weir::bench {
namespace {

constexpr uint32_t kStreamWindow = 1u << 20;
constexpr uint32_t kConnectionWindow = 64u << 20;
constexpr size_t kReadSize = 256u << 10;
constexpr std::string_view kCommand = "\x7fSTR";
constexpr std::string_view kServing("\0\0\0\0\2\x08\x01", 7);

constexpr char kStatus200 = '\x88';
constexpr uint32_t kTableNeeded = 256;  // both entries fit

std::string field(char kind, std::string_view name, std::string_view value) {
  std::string bytes(1, kind);
  bytes += static_cast<char>(name.size());
  bytes += name;
  bytes += static_cast<char>(value.size());
  bytes += value;
  return bytes;
}

}  // namespace

Connection::~Connection() { close(fd_); }

bool Connection::on_readable(std::string& buffer) {
  buffer.resize(rest_.size() + kReadSize);
  std::memcpy(buffer.data(), rest_.data(), rest_.size());
  ssize_t n = recv(fd_, buffer.data() + rest_.size(), kReadSize, 0);
  if (n == 0) return false;
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  std::string_view input(buffer.data(), rest_.size() + static_cast<size_t>(n));
  long used = parse(input);
  if (used < 0) return false;
  rest_.assign(input.substr(static_cast<size_t>(used)));
  pump_all();
  if (consumed_ >= kConnectionWindow / 4) {
    add_window_update(out_, 0, consumed_);
    consumed_ = 0;
  }
  return true;
}

long Connection::parse(std::string_view input) {
  size_t at = 0;
  if (!greeted_) {
    if (input.size() < kPreface.size()) return 0;
    if (!input.starts_with(kPreface)) return -1;
    at = kPreface.size();
    greeted_ = true;
    std::string settings;
    add_setting(settings, kInitialWindowSize, kStreamWindow);
    add_frame(out_, kSettings, 0, 0, settings);
    add_window_update(out_, 0, kConnectionWindow - 65535);
  }
  while (input.size() - at >= kFrameHeader) {
    FrameHeader header = read_frame_header(input.data() + at);
    if (header.length > kMaxFrame) return -1;
    if (input.size() - at < kFrameHeader + header.length) break;
    if (!on_frame(header, input.data() + at + kFrameHeader)) return -1;
    at += kFrameHeader + header.length;
  }
  return static_cast<long>(at);
}

bool Connection::on_frame(const FrameHeader& header, const char* payload) {
  switch (header.type) {
    case kData:
      return on_data(header, payload);
    case kHeaders: {
      if (streams_.find(header.stream) == nullptr) streams_.insert(header.stream).window = initial_window_;
      Stream& stream = *streams_.find(header.stream);
      stream.ended = (header.flags & kEndStream) != 0;
      finish_if_done(header.stream, stream);
      return true;
    }
    case kReset:
      if (streams_.find(header.stream) != nullptr) streams_.erase(header.stream);
      return true;
    case kSettings:
      return on_settings(header, payload);
    case kPing:
      if (header.length != 8) return false;
      if (!(header.flags & kAck)) add_frame(out_, kPing, kAck, 0, {payload, 8});
      return true;
    case kWindowUpdate:
      if (header.length != 4) return false;
      on_window_update(header.stream, get32(payload) & 0x7fffffff);
      return true;
    default:
      return true;
  }
}

bool Connection::on_settings(const FrameHeader& header, const char* payload) {
  if (header.flags & kAck) return true;
  if (header.length % 6 != 0) return false;
  for (const char* p = payload; p < payload + header.length; p += 6) {
    uint32_t value = get32(p + 2);
    if (p[1] == kInitialWindowSize) {
      int64_t change = static_cast<int64_t>(value) - initial_window_;
      streams_.each([change](uint32_t, Stream& stream) { stream.window += change; });
      initial_window_ = value;
    } else if (p[1] == kHeaderTableSize && value < header_table_) {
      header_table_ = value;
      size_update_due_ = true;
      header_entry_ = trailer_entry_ = false;
    }
  }
  add_frame_header(out_, 0, kSettings, kAck, 0);
  return true;
}

void Connection::on_window_update(uint32_t id, uint32_t credit) {
  if (id == 0) {
    window_ += credit;
  } else if (Stream* stream = streams_.find(id)) {
    stream->window += credit;
  }
}

bool Connection::on_data(const FrameHeader& header, const char* payload) {
  consumed_ += header.length;
  Stream* stream = streams_.find(header.stream);
  if (stream == nullptr) return true;  // reset a moment ago
  bool end = (header.flags & kEndStream) != 0;
  stream->consumed += header.length;
  if (!end && stream->consumed >= kStreamWindow / 2) {
    add_window_update(out_, header.stream, stream->consumed);
    stream->consumed = 0;
  }
  feed(header.stream, *stream, content_of(header, payload));
  stream->ended = end;
  finish_if_done(header.stream, *stream);
  return true;
}

void Connection::feed(uint32_t id, Stream& stream, std::string_view bytes) {
  if (stream.counted) return;
  if (!stream.decided) {
    size_t part = std::min(bytes.size(), kHeadMax - stream.head_size);
    std::memcpy(stream.head + stream.head_size, bytes.data(), part);
    stream.head_size = static_cast<uint8_t>(stream.head_size + part);
    bytes.remove_prefix(part);
    decide(id, stream);
    if (!stream.decided || stream.counted) return;
  }
  if (!bytes.empty()) send(id, stream, bytes);
}

// Looks at the first message as far as it is there. Less than a command's length decides too, once it
// cannot become one: a proxy may cut the bytes anywhere.
void Connection::decide(uint32_t id, Stream& stream) {
  if (stream.head_size < kMessagePrefix) return;
  std::string_view head(stream.head, stream.head_size);
  uint32_t length = get32(stream.head + 1);
  if (length == 0) {
    stream.decided = true;
    send(id, stream, kServing);
    return;
  }
  std::string_view body = head.substr(kMessagePrefix);
  size_t compared = std::min(body.size(), kCommand.size());
  if (length == 12 && body.substr(0, compared) == kCommand.substr(0, compared)) {
    if (body.size() < 12) return;
    stream.decided = stream.counted = true;
    stream.message_size = get32(body.data() + 8);
    stream.left = static_cast<uint64_t>(get32(body.data() + 4)) * (kMessagePrefix + stream.message_size);
    waiting_.push_back(id);
    return;
  }
  stream.decided = true;
  send(id, stream, head);
}

void Connection::add_size_update(std::string& block) {
  if (!size_update_due_) return;
  size_update_due_ = false;
  uint32_t size = header_table_;
  if (size < 31) {
    block += static_cast<char>(0x20 | size);
    return;
  }
  block += '\x3f';
  for (size -= 31; size >= 128; size >>= 7) block += static_cast<char>(0x80 | (size & 0x7f));
  block += static_cast<char>(size);
}

// The first response of a connection puts content-type, then grpc-status into the peer's table: from
// then on they are indices 63 and 62.
void Connection::answer_headers(uint32_t id, Stream& stream) {
  stream.answered = true;
  std::string block;
  add_size_update(block);
  block += kStatus200;
  if (header_table_ < kTableNeeded) {
    block += field('\x00', "content-type", "application/grpc");
  } else if (!header_entry_) {
    header_entry_ = true;
    content_type_index_ = 62;
    block += field('\x40', "content-type", "application/grpc");
  } else {
    block += static_cast<char>(0x80 | content_type_index_);
  }
  add_frame(out_, kHeaders, kEndHeaders, id, block);
}

// Sends as much as the windows allow and keeps the rest. False: something is kept.
bool Connection::send(uint32_t id, Stream& stream, std::string_view bytes) {
  if (!stream.answered) answer_headers(id, stream);
  while (stream.pending.empty() && !bytes.empty() && stream.window > 0 && window_ > 0) {
    size_t part = std::min({bytes.size(), kMaxFrame, static_cast<size_t>(stream.window),
                            static_cast<size_t>(window_)});
    add_frame(out_, kData, 0, id, bytes.substr(0, part));
    stream.window -= static_cast<int64_t>(part);
    window_ -= static_cast<int64_t>(part);
    bytes.remove_prefix(part);
  }
  if (bytes.empty()) return stream.pending.empty();
  if (stream.pending.empty()) waiting_.push_back(id);
  if (stream.pending.size() + bytes.size() <= kPendingMax) stream.pending.append(bytes);
  return false;
}

// Sends counted messages as far as windows and the output buffer allow.
void Connection::pump(uint32_t id, Stream& stream) {
  const uint64_t cycle = kMessagePrefix + stream.message_size;
  if (!stream.answered) answer_headers(id, stream);
  while (stream.left > 0 && stream.window > 0 && window_ > 0 && out_.size() - sent_ < kPumpAhead) {
    size_t part = std::min({stream.left, uint64_t{kMaxFrame}, static_cast<uint64_t>(stream.window),
                            static_cast<uint64_t>(window_)});
    add_frame_header(out_, part, kData, 0, id);
    for (size_t done = 0; done < part;) {
      uint64_t at = (cycle - stream.left % cycle) % cycle;  // position within the current message
      size_t n;
      if (at < kMessagePrefix) {
        char prefix[kMessagePrefix] = {};
        set32(prefix + 1, stream.message_size);
        n = std::min(part - done, kMessagePrefix - static_cast<size_t>(at));
        out_.append(prefix + at, n);
      } else {
        n = std::min(part - done, static_cast<size_t>(cycle - at));
        out_.append(n, 's');
      }
      done += n;
      stream.left -= n;
    }
    stream.window -= static_cast<int64_t>(part);
    window_ -= static_cast<int64_t>(part);
  }
}

void Connection::pump_all() {
  std::vector<uint32_t> ids;
  ids.swap(waiting_);
  for (uint32_t id : ids) {
    Stream* stream = streams_.find(id);
    if (stream == nullptr) continue;
    if (stream->counted) {
      pump(id, *stream);
      if (stream->left > 0) waiting_.push_back(id);
    } else {
      std::string pending;
      pending.swap(stream->pending);
      send(id, *stream, pending);
    }
    finish_if_done(id, *stream);
  }
}

void Connection::finish_if_done(uint32_t id, Stream& stream) {
  if (!stream.ended || !stream.pending.empty() || stream.left > 0) return;
  if (stream.counted && !stream.answered) return;  // the pump comes first
  if (!stream.answered) answer_headers(id, stream);
  std::string block;
  add_size_update(block);
  if (header_table_ < kTableNeeded) {
    block += field('\x00', "grpc-status", "0");
  } else if (!trailer_entry_) {
    trailer_entry_ = true;
    content_type_index_ = 63;
    block += field('\x40', "grpc-status", "0");
  } else {
    block += '\xbe';  // 62
  }
  add_frame(out_, kHeaders, kEndHeaders | kEndStream, id, block);
  counters_->rpcs++;
  streams_.erase(id);
}

bool Connection::flush() {
  while (sent_ < out_.size()) {
    ssize_t n = ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN;
    sent_ += static_cast<size_t>(n);
    if (sent_ == out_.size()) {
      out_.clear();
      sent_ = 0;
      pump_all();
    }
  }
  return true;
}

}  // namespace weir::bench
