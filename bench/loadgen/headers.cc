#include "loadgen/headers.h"

#include <cstdlib>
#include <utility>
#include <vector>

namespace weir::bench {
namespace {

// Integer with a prefix of `bits` (RFC 7541 §5.1).
void add_integer(std::string& out, uint8_t first, int bits, uint32_t value) {
  uint32_t limit = (1u << bits) - 1;
  if (value < limit) {
    out += static_cast<char>(first | value);
    return;
  }
  out += static_cast<char>(first | limit);
  for (value -= limit; value >= 128; value >>= 7) out += static_cast<char>(0x80 | (value & 0x7f));
  out += static_cast<char>(value);
}

void add_string(std::string& out, std::string_view text) {
  add_integer(out, 0, 7, static_cast<uint32_t>(text.size()));
  out += text;
}

bool only_indices(std::string_view block) {
  for (char c : block) {
    if (!(c & 0x80) || c == '\xff') return false;
  }
  return true;
}

}  // namespace

RequestHeaders::RequestHeaders(std::string path, std::string authority, std::string scheme) {
  // Name index in the static table (0: a literal name), name, value.
  struct Field {
    uint8_t name_index;
    std::string name, value;
  };
  const std::vector<Field> fields = {
      {4, ":path", std::move(path)},
      {1, ":authority", std::move(authority)},
      {31, "content-type", "application/grpc"},
      {0, "te", "trailers"},
      {58, "user-agent", "grpc-c++/1.51.1 grpc-c/29.0.0 (linux; chttp2)"},
      {0, "grpc-accept-encoding", "identity, deflate, gzip"},
  };
  std::string indexed_in_static = scheme == "https" ? "\x87\x83" : "\x86\x83";  // :scheme, :method POST
  first_block_ = later_block_ = indexed_in_static;
  uint32_t index = 61 + static_cast<uint32_t>(fields.size());
  for (const Field& field : fields) {
    add_integer(first_block_, 0x40, 6, field.name_index);
    if (field.name_index == 0) add_string(first_block_, field.name);
    add_string(first_block_, field.value);
    add_integer(later_block_, 0x80, 7, index--);
  }
}

void RequestHeaders::add(std::string& out, uint64_t request_id) {
  out += first_ ? first_block_ : later_block_;
  first_ = false;
  char id[kIdField] = "\x00\x0cx-request-id\x20";
  // Spread, so that two ids never share a prefix that a cache could profit from.
  uint64_t halves[2] = {request_id * 0x9e3779b97f4a7c15, request_id ^ 0xd6e8feb86659fd93};
  char* digit = id + kIdField - 32;
  for (uint64_t half : halves) {
    for (int i = 0; i < 16; i++, half >>= 4) *digit++ = "0123456789abcdef"[half & 15];
  }
  out.append(id, sizeof id);
}

ResponseHeaders::ResponseHeaders() {
  if (nghttp2_hd_inflate_new(&inflater_) != 0) std::abort();
}

ResponseHeaders::~ResponseHeaders() { nghttp2_hd_inflate_del(inflater_); }

ResponseBlock ResponseHeaders::decode(std::string_view block) {
  bool indices = only_indices(block);
  if (indices) {
    for (const Known& known : known_) {
      if (known.block == block) return known.result;
    }
  } else {
    known_[0].block.clear();
    known_[1].block.clear();
  }
  ResponseBlock result;
  auto* at = reinterpret_cast<const uint8_t*>(block.data());
  size_t left = block.size();
  for (;;) {
    nghttp2_nv field;
    int flags = 0;
    ssize_t used = nghttp2_hd_inflate_hd2(inflater_, &field, &flags, at, left, 1);
    if (used < 0) return result;
    at += used;
    left -= static_cast<size_t>(used);
    if (flags & NGHTTP2_HD_INFLATE_EMIT) {
      std::string_view name(reinterpret_cast<char*>(field.name), field.namelen);
      if (name == ":status") result.http_status = std::atoi(reinterpret_cast<char*>(field.value));
      if (name == "grpc-status") result.grpc_status = std::atoi(reinterpret_cast<char*>(field.value));
    }
    if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
    if (left == 0 && !(flags & NGHTTP2_HD_INFLATE_EMIT)) break;
  }
  nghttp2_hd_inflate_end_headers(inflater_);
  result.ok = true;
  if (indices) {
    known_[oldest_] = {std::string(block), result};
    oldest_ = 1 - oldest_;
  }
  return result;
}

}  // namespace weir::bench
