// Test only: a connection on a fake transport, a sink that writes down what it was told, and frames by hand.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "http/h2/connection.h"

namespace weir::http::h2 {

using Pairs = std::vector<std::pair<std::string, std::string>>;

inline const Pairs kGet = {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}};
inline const Pairs kPost = {{":method", "POST"}, {":scheme", "http"}, {":path", "/p"}, {":authority", "a"}};
inline const Pairs kOk = {{":status", "200"}};
inline const Pairs kTrailers = {{"grpc-status", "0"}};

inline Pairs with(Pairs base, Pairs more) {
  base.insert(base.end(), more.begin(), more.end());
  return base;
}

inline std::vector<Field> fields_of(const Pairs& pairs) {
  std::vector<Field> out;
  for (const auto& [name, value] : pairs) out.push_back({name, value, 0, token_of(name)});
  return out;
}

// A block of literals without indexing: needs no table. Texts below 127 bytes.
inline std::string block_of(const Pairs& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) {
    out += '\0';
    out += static_cast<char>(name.size());
    out += name;
    out += static_cast<char>(value.size());
    out += value;
  }
  return out;
}

inline std::string u32(uint32_t value) {
  uint8_t bytes[4];
  write_u32(bytes, value);
  return {reinterpret_cast<char*>(bytes), 4};
}

// What a peer sends, frame after frame.
struct Wire {
  std::string bytes;

  Wire& raw(std::string_view text) {
    bytes += text;
    return *this;
  }
  Wire& frame(FrameType type, uint8_t flags, uint32_t id, std::string_view payload) {
    uint8_t head[kFrameHeaderBytes];
    write_frame_header(head, {static_cast<uint32_t>(payload.size()), type, flags, 0});
    write_u32(head + 5, id);  // with the reserved bit, when the test sets it
    bytes.append(reinterpret_cast<char*>(head), sizeof head);
    bytes += payload;
    return *this;
  }
  Wire& preface() { return raw(kPreface); }
  Wire& settings(const std::vector<std::pair<int, uint32_t>>& values = {}) {
    std::string payload;
    for (auto [id, value] : values) {
      payload += static_cast<char>(id >> 8);
      payload += static_cast<char>(id);
      payload += u32(value);
    }
    return frame(FrameType::Settings, 0, 0, payload);
  }
  Wire& settings_ack() { return frame(FrameType::Settings, kFlagAck, 0, ""); }
  Wire& headers(uint32_t id, const Pairs& pairs, bool end_stream) {
    uint8_t flags = end_stream ? kFlagEndHeaders | kFlagEndStream : kFlagEndHeaders;
    return frame(FrameType::Headers, flags, id, block_of(pairs));
  }
  Wire& data(uint32_t id, std::string_view text, bool end_stream = false) {
    return frame(FrameType::Data, end_stream ? kFlagEndStream : 0, id, text);
  }
  Wire& padded_data(uint32_t id, std::string_view text, uint8_t pad, bool end_stream = false) {
    std::string payload(1, static_cast<char>(pad));
    payload.append(text).append(pad, '\0');
    return frame(FrameType::Data, static_cast<uint8_t>(kFlagPadded | (end_stream ? kFlagEndStream : 0)), id, payload);
  }
  Wire& rst(uint32_t id, ErrorCode code = ErrorCode::Cancel) {
    return frame(FrameType::RstStream, 0, id, u32(static_cast<uint32_t>(code)));
  }
  Wire& window(uint32_t id, uint32_t increment) { return frame(FrameType::WindowUpdate, 0, id, u32(increment)); }
  Wire& ping(std::string_view opaque = "12345678", uint8_t flags = 0) {
    return frame(FrameType::Ping, flags, 0, opaque);
  }
  Wire& goaway(uint32_t last_id, ErrorCode code = ErrorCode::NoError) {
    return frame(FrameType::GoAway, 0, 0, u32(last_id) + u32(static_cast<uint32_t>(code)));
  }
};

inline std::span<const uint8_t> span_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// One line per call.
struct RecordingSink final : Sink {
  std::vector<std::string> events;
  std::vector<std::pair<uint32_t, StreamHandle>> opened;
  bool consumes = true;
  size_t sent_bytes = 0;
  size_t data_bytes = 0;
  int dirty = 0;
  Connection* connection = nullptr;
  std::function<void(StreamHandle, Stream&, const HeadersEvent&)> headers_hook;
  std::function<void(StreamHandle, Stream&, bool)> data_hook;
  std::function<void(StreamHandle, Stream&)> reset_hook, sent_hook;
  std::function<size_t(Buffer&, std::span<const uint8_t>)> write_through_hook;

  StreamHandle handle(uint32_t id) const {
    for (auto it = opened.rbegin(); it != opened.rend(); ++it) {
      if (it->first == id) return it->second;
    }
    return {};
  }

  void on_headers(StreamHandle h, Stream& s, const HeadersEvent& event) override {
    static constexpr const char* kKinds[] = {"head ", "informational ", "trailers "};
    std::string line = kKinds[static_cast<int>(event.kind)] + std::to_string(s.id);
    event.list.for_each([&](const Field& f) { line.append(" ").append(f.name).append("=").append(f.value); });
    if (event.list.too_large) line += " too_large";
    if (event.end_stream) line += " end";
    events.push_back(line);
    if (event.kind == HeadersEvent::Kind::Head) opened.emplace_back(s.id, h);
    if (headers_hook) headers_hook(h, s, event);
  }
  size_t on_data(StreamHandle h, Stream& s, std::span<const uint8_t> bytes, bool end_stream) override {
    data_bytes += bytes.size();
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.size() > 32) text = std::to_string(text.size()) + " bytes";
    events.push_back("data " + std::to_string(s.id) + " " + text + (end_stream ? " end" : ""));
    if (data_hook) data_hook(h, s, end_stream);
    return consumes ? bytes.size() : 0;
  }
  void on_reset(StreamHandle h, Stream& s, ErrorCode code, ResetBy by) override {
    events.push_back("reset " + std::to_string(s.id) + " " + std::string(to_string(code)) +
                     (by == ResetBy::Local ? " local" : " remote"));
    if (reset_hook) reset_hook(h, s);
  }
  void on_sent(StreamHandle h, Stream& s, size_t bytes) override {
    sent_bytes += bytes;
    if (sent_hook) sent_hook(h, s);
  }
  void on_goaway(uint32_t last_id, ErrorCode code) override {
    events.push_back("goaway " + std::to_string(last_id) + " " + std::string(to_string(code)));
  }
  void on_settings() override { events.push_back("settings"); }
  void on_output() override { ++dirty; }
  size_t write_through(Buffer& output, std::span<const uint8_t> bytes) override {
    return write_through_hook ? write_through_hook(output, bytes) : 0;
  }
};

// One frame as text: "RST 1 CANCEL", "GOAWAY 1 PROTOCOL_ERROR", "DATA 1 5 end", "HEADERS 1 end", …
inline std::string describe(const FrameHeader& h, const uint8_t* p) {
  std::string id = std::to_string(h.stream_id);
  auto error = [](uint32_t code) { return std::string(to_string(static_cast<ErrorCode>(code))); };
  std::string end = (h.flags & kFlagEndStream) ? " end" : "";
  switch (h.type) {
    case FrameType::Data: return "DATA " + id + " " + std::to_string(h.length) + end;
    case FrameType::Headers: return "HEADERS " + id + end;
    case FrameType::Continuation: return "CONTINUATION " + id;
    case FrameType::RstStream: return "RST " + id + " " + error(read_u32(p));
    case FrameType::Settings: return h.flags & kFlagAck ? "SETTINGS ack" : "SETTINGS";
    case FrameType::Ping:
      return std::string("PING ") + ((h.flags & kFlagAck) ? "ack " : "") + std::string(p, p + h.length);
    case FrameType::GoAway: return "GOAWAY " + std::to_string(read_u32(p)) + " " + error(read_u32(p + 4));
    case FrameType::WindowUpdate: return "WINDOW " + id + " " + std::to_string(read_u32(p));
    default: return "type " + std::to_string(static_cast<int>(h.type));
  }
}

// A connection with all it needs; output is parsed into lines.
struct Endpoint {
  explicit Endpoint(Role role) : Endpoint(options_for(role)) {}
  explicit Endpoint(const ConnectionOptions& options)
      : connection(options, Shared{streams, buffers, arena, headers, &runs}, sink) {
    sink.connection = &connection;
    connection.start();
  }
  static ConnectionOptions options_for(Role role) {
    ConnectionOptions options;
    options.role = role;
    return options;
  }

  bool feed(std::string_view bytes, TimePoint now = TimePoint{} + std::chrono::seconds(1)) {
    std::vector<uint8_t> exact(bytes.begin(), bytes.end());  // of its exact size, for the sanitizers
    bool alive = connection.receive(exact, now);
    connection.pump();
    arena.reset();
    return alive;
  }
  bool feed(const Wire& wire) { return feed(wire.bytes); }

  // The frames written since the last call; raw bytes stay in `last_output`.
  std::vector<std::string> take() {
    last_output.assign(connection.output().bytes().begin(), connection.output().bytes().end());
    connection.output().consume(connection.output().size());
    connection.output_flushed();
    std::vector<std::string> lines;
    size_t at = 0;
    if (std::string_view(last_output).substr(0, kPreface.size()) == kPreface) at = kPreface.size();
    const auto* p = reinterpret_cast<const uint8_t*>(last_output.data());
    while (at + kFrameHeaderBytes <= last_output.size()) {
      FrameHeader h = read_frame_header(p + at);
      lines.push_back(describe(h, p + at + kFrameHeaderBytes));
      at += kFrameHeaderBytes + h.length;
    }
    return lines;
  }
  // Only what says that something went wrong.
  std::vector<std::string> take_errors() {
    std::vector<std::string> out;
    for (std::string& line : take()) {
      if (line.starts_with("RST") || line.starts_with("GOAWAY")) out.push_back(std::move(line));
    }
    return out;
  }
  StreamHandle request(const Pairs& pairs, bool end_stream) {
    StreamHandle handle = connection.open_stream(0);
    connection.send_headers(handle, fields_of(pairs), end_stream);
    return handle;
  }
  Stream* stream(uint32_t id) {
    Stream* found = nullptr;
    connection.for_each_stream([&](StreamHandle h) {
      if (streams.resolve(h)->id == id) found = streams.resolve(h);
    });
    return found;
  }

  BufferPool buffers;
  StreamPool streams;
  Arena arena;
  HeaderList headers;
  HeaderRuns runs;
  RecordingSink sink;
  Connection connection;
  std::string last_output;
};

// A server that has seen preface and SETTINGS, a client that has seen the server's SETTINGS.
inline Wire greeting(Role role) {
  Wire wire;
  if (role == Role::Server) wire.preface();
  wire.settings().settings_ack();
  return wire;
}

// Moves what stands in `from.output()` to `to`; in pieces when `random` is given. False when `to` is over.
inline bool carry(Endpoint& from, Endpoint& to, Random* random = nullptr,
                  TimePoint now = TimePoint{} + std::chrono::seconds(1)) {
  std::string bytes(from.connection.output().bytes().begin(), from.connection.output().bytes().end());
  from.connection.output().consume(bytes.size());
  from.connection.output_flushed();
  from.connection.pump();
  bool alive = true;
  for (size_t at = 0; at < bytes.size();) {
    size_t n = random == nullptr ? bytes.size() : 1 + random->below(std::min<size_t>(bytes.size() - at, 5000));
    alive = to.feed(std::string_view(bytes).substr(at, n), now);
    at += n;
  }
  return alive;
}

}  // namespace weir::http::h2
