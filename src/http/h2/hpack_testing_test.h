// Test only: blocks from hexadecimal digits and decoded lists as plain values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "http/h2/hpack.h"
#include "http/header.h"

namespace weir::http::h2 {

struct Plain {
  std::string name;
  std::string value;
  bool never_indexed = false;
  bool operator==(const Plain&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Plain& field) {
  return out << field.name << ": " << field.value << (field.never_indexed ? " (never indexed)" : "");
}

inline std::vector<Plain> plain(const HeaderList& list) {
  std::vector<Plain> out;
  list.for_each([&](const Field& f) { out.push_back({std::string(f.name), std::string(f.value), f.never_indexed}); });
  return out;
}

// "82 86" or "8286", with string parts in quotes: "40 03'abc' 01'x'".
inline std::vector<uint8_t> block(std::string_view text) {
  std::vector<uint8_t> out;
  bool quoted = false, half = false;
  for (char c : text) {
    if (c == '\'') {
      quoted = !quoted;
    } else if (quoted) {
      out.push_back(static_cast<uint8_t>(c));
    } else if (c != ' ') {
      int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      if (half) {
        out.back() = static_cast<uint8_t>(out.back() << 4 | digit);
      } else {
        out.push_back(static_cast<uint8_t>(digit));
      }
      half = !half;
    }
  }
  return out;
}

// A decoder with its arena and list; the block is copied to a heap block of its exact size.
struct Decoding {
  explicit Decoding(const HpackLimits& limits = {}) : decoder(limits) {}
  bool operator()(const std::vector<uint8_t>& bytes) {
    arena.reset();
    std::vector<uint8_t> exact(bytes);
    return decoder.decode(exact, arena, list, runs);
  }
  bool operator()(std::string_view text) { return (*this)(block(text)); }
  std::vector<Plain> fields() const { return plain(list); }

  HpackDecoder decoder;
  Arena arena;
  HeaderList list;
  HeaderRuns* runs = nullptr;
};

struct Encoding {
  std::vector<uint8_t> operator()(const std::vector<Plain>& fields) {
    encoder.begin_block(out);
    for (const Plain& f : fields) {
      Field field{f.name, f.value};
      field.never_indexed = f.never_indexed;
      encoder.encode(field, out);
    }
    std::vector<uint8_t> bytes(out.bytes().begin(), out.bytes().end());
    out.rewind();
    return bytes;
  }

  BufferPool pool;
  Buffer out{pool};
  HpackEncoder encoder;
};

}  // namespace weir::http::h2
