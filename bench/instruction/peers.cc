#include "instruction/peers.h"

#include <utility>

namespace weir::bench {

namespace {
constexpr uint32_t kStreamWindow = 1u << 20;
constexpr uint32_t kConnectionWindow = 64u << 20;
constexpr size_t kMessageBytes = 100;

std::string field(char kind, std::string_view name, std::string_view value) {
  std::string bytes(1, kind);
  bytes += static_cast<char>(name.size());
  bytes += name;
  bytes += static_cast<char>(value.size());
  bytes += value;
  return bytes;
}
}  // namespace

void Frames::greet() {
  std::string settings;
  add_setting(settings, kInitialWindowSize, kStreamWindow);
  add_frame(out_, kSettings, 0, 0, settings);
  add_window_update(out_, 0, kConnectionWindow - 65535);
}

void Frames::credit(size_t bytes) {
  consumed_ += static_cast<uint32_t>(bytes);
  if (consumed_ < kConnectionWindow / 4) return;
  add_window_update(out_, 0, consumed_);
  consumed_ = 0;
}

void Frames::on_bytes(std::string_view bytes) {
  in_ += bytes;
  size_t at = 0;
  while (in_.size() - at >= kFrameHeader) {
    FrameHeader header = read_frame_header(in_.data() + at);
    if (in_.size() - at < kFrameHeader + header.length) break;
    const char* payload = in_.data() + at + kFrameHeader;
    if (header.type == kSettings && !(header.flags & kAck)) add_frame_header(out_, 0, kSettings, kAck, 0);
    if (header.type == kPing && !(header.flags & kAck)) add_frame(out_, kPing, kAck, 0, {payload, 8});
    if (header.type == kReset || header.type == kGoaway) tally_.error("RST_STREAM or GOAWAY");
    if (header.type == kData) credit(header.length);
    on_frame(header, payload);
    at += kFrameHeader + header.length;
  }
  in_.erase(0, at);
}

Client::Client(net::Loop& loop, sim::Network& network, int fd, Kind kind, Tally& tally)
    : Frames(tally),
      kind_(kind),
      headers_(kind == Kind::Unary ? "/bench.Echo/Unary" : "/bench.Echo/Stream", "sim.example", "https"),
      channel_(loop, network, fd, sim::Channel::Security::Tls, *this) {
  out_ += kPreface;
  greet();
  channel_.send(std::exchange(out_, {}));
}

void Client::add_message(uint32_t stream, bool end) {
  std::string message(kMessagePrefix + kMessageBytes, 'm');
  message.replace(0, kMessagePrefix, std::string("\0\0\0\0\x64", kMessagePrefix));
  add_frame(out_, kData, end ? kEndStream : 0, stream, message);
}

void Client::open_stream(bool end) {
  std::string block;
  headers_.add(block, ++tally_.requests);
  add_frame(out_, kHeaders, kEndHeaders, next_id_, block);
  add_message(next_id_, end);
  if (!end) streams_.push_back(next_id_);
  next_id_ += 2;
}

void Client::issue(uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    if (kind_ == Kind::Unary) {
      open_stream(true);
    } else if (streams_.size() < 32) {
      open_stream(false);
    } else {
      add_message(streams_[next_stream_++ % streams_.size()], false);
    }
  }
  channel_.send(std::exchange(out_, {}));
}

void Client::on_frame(const FrameHeader& header, const char* payload) {
  if (header.type == kData) {
    if (header.length != kMessagePrefix + kMessageBytes) tally_.error("a message of another length");
    if (kind_ == Kind::PingPong) ++tally_.done;
  } else if (header.type == kHeaders) {
    ResponseBlock block = responses_.decode(content_of(header, payload));
    if (!block.ok) return tally_.error("a header block that does not decode");
    if (header.flags & kEndStream) {
      if (block.grpc_status != 0) return tally_.error("grpc-status " + std::to_string(block.grpc_status));
      if (kind_ == Kind::Unary) ++tally_.done;
    } else if (block.http_status != 200) {
      tally_.error("status " + std::to_string(block.http_status));
    }
  }
}

Target::Target(net::Loop& loop, sim::Network& network, int fd, Tally& tally)
    : Frames(tally), channel_(loop, network, fd, sim::Channel::Security::Clear, *this) {
  greet();
  channel_.send(std::exchange(out_, {}));
}

void Target::on_bytes(std::string_view bytes) {
  if (!greeted_) {
    in_ += bytes;
    if (in_.size() < kPreface.size()) return;
    greeted_ = true;
    in_.erase(0, kPreface.size());
    bytes = {};
  }
  Frames::on_bytes(bytes);
  channel_.send(std::exchange(out_, {}));
}

void Target::answer_head(uint32_t stream) {
  std::string block(1, '\x88');  // :status 200
  if (trailers_known_) {
    block += '\xbf';
  } else {
    block += head_known_ ? "\xbe" : field('\x40', "content-type", "application/grpc");
    head_known_ = true;
  }
  add_frame(out_, kHeaders, kEndHeaders, stream, block);
}

void Target::on_frame(const FrameHeader& header, const char* payload) {
  if (header.type != kData) return;
  size_t slot = header.stream / 2;
  if (answered_.size() <= slot) answered_.resize(slot + 64);
  if (!answered_[slot]) answer_head(header.stream);
  answered_[slot] = true;
  add_frame(out_, kData, 0, header.stream, {payload, header.length});
  if ((header.flags & kEndStream) == 0) return;
  std::string block = trailers_known_ ? "\xbe" : field('\x40', "grpc-status", "0");
  trailers_known_ = true;
  add_frame(out_, kHeaders, kEndHeaders | kEndStream, header.stream, block);
}

}  // namespace weir::bench
