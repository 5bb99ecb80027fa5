// HPACK blocks of one connection: our decoder against libnghttp2's, our limits, and what our encoder makes
// of the decoded lists.
//
// Input: blocks, each behind two bytes of length (big-endian); the last may be cut short.
#include <nghttp2/nghttp2.h>

#include <string>
#include <vector>

#include "check.h"
#include "http/h2/hpack.h"
#include "http/known_names.h"

namespace {

using weir::Arena;
using weir::Buffer;
using weir::BufferPool;
using weir::http::Field;
using weir::http::HeaderList;
using weir::http::HeaderRunRef;
using weir::http::h2::HpackDecoder;
using weir::http::h2::HpackEncoder;
using weir::http::h2::HpackLimits;

constexpr uint32_t kWideListBytes = 4 << 20;
constexpr HpackLimits kWide{.table_bytes = 4096, .fields_max = 1 << 20, .list_bytes_max = kWideListBytes};
constexpr HpackLimits kTight{.table_bytes = 4096, .fields_max = 8, .list_bytes_max = 400};

bool same_field(const Field& a, const Field& b) {
  return a.name == b.name && a.value == b.value && a.never_indexed == b.never_indexed && a.token == b.token &&
         a.odd_name == b.odd_name && (a.unique || b.unique || a.hash == b.hash);
}

struct Inflater {
  Inflater() { CHECK(nghttp2_hd_inflate_new(&inflater) == 0); }
  ~Inflater() { nghttp2_hd_inflate_del(inflater); }

  // Decodes and compares with `list`, as far as it goes. Returns whether nghttp2 took the block.
  bool matches(const uint8_t* at, size_t left, const HeaderList& list) {
    size_t count = 0;
    while (true) {
      nghttp2_nv nv;
      int flags = 0;
      ssize_t used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, at, left, 1);
      if (used < 0) return false;
      at += used;
      left -= static_cast<size_t>(used);
      bool field = (flags & NGHTTP2_HD_INFLATE_EMIT) != 0;
      if (field && !list.too_large) {
        CHECK(count < list.fields.size());
        const Field& f = list.fields[count++];
        CHECK(f.name == std::string_view(reinterpret_cast<char*>(nv.name), nv.namelen));
        CHECK(f.value == std::string_view(reinterpret_cast<char*>(nv.value), nv.valuelen));
        CHECK(f.never_indexed == ((nv.flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0));
      }
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0 || (!field && left == 0)) break;
    }
    CHECK(list.too_large || count == list.fields.size());
    nghttp2_hd_inflate_end_headers(inflater);
    return true;
  }

  nghttp2_hd_inflater* inflater = nullptr;
};

struct Connection {
  bool decode_block(const std::vector<uint8_t>& block);
  void check_limits(const std::vector<uint8_t>& block);
  void forward();

  Arena arena;
  HpackDecoder wide{kWide}, tight{kTight}, behind{kWide};
  HeaderList list, small, again;
  HeaderRunRef run;  // that the block began with
  weir::http::FieldList behind_run;
  weir::http::HeaderRuns runs;
  Inflater reference, reference_behind;
  HpackEncoder encoder;
  BufferPool pool;
  Buffer out{pool};
};

bool Connection::decode_block(const std::vector<uint8_t>& block) {
  arena.reset();
  bool taken = wide.decode(block, arena, list, &runs);
  run = HeaderRunRef(list.run);
  behind_run = list.fields;
  list.unfold();
  // An empty block is none for nghttp2.
  if (!block.empty()) CHECK(reference.matches(block.data(), block.size(), list) == taken);
  for (const Field& f : list.fields) {
    CHECK(f.unique || f.hash == weir::http::field_hash(f.name, f.value));
    CHECK(f.token == weir::http::token_of(f.name));
  }
  if (!taken) {
    HeaderList none;
    CHECK(!tight.decode(block, arena, none));
    return false;
  }
  CHECK(wide.table_bytes_used() == nghttp2_hd_inflate_get_dynamic_table_size(reference.inflater));
  check_limits(block);
  if (!list.too_large) forward();
  return true;
}

void Connection::check_limits(const std::vector<uint8_t>& block) {
  CHECK(tight.decode(block, arena, small));
  CHECK(tight.table_bytes_used() == wide.table_bytes_used());
  CHECK(small.fields.size() <= kTight.fields_max);
  CHECK(small.list_size == list.list_size);
  CHECK(small.malformed == list.malformed);
  CHECK(small.fields.size() <= list.fields.size());
  size_t bytes = 0;
  for (size_t i = 0; i < small.fields.size(); ++i) {
    CHECK(same_field(small.fields[i], list.fields[i]));
    bytes += small.fields[i].name.size() + small.fields[i].value.size() + 32;
  }
  CHECK(bytes <= kTight.list_bytes_max);
  CHECK(small.too_large == (small.fields.size() != list.fields.size() || list.too_large));
}

void Connection::forward() {
  out.rewind();
  encoder.encode(run.get(), behind_run, nullptr, out);
  again.clear();
  CHECK(behind.decode(out.bytes(), arena, again));
  CHECK(again.malformed == list.malformed && again.fields.size() == list.fields.size());
  for (size_t i = 0; i < list.fields.size(); ++i) CHECK(same_field(again.fields[i], list.fields[i]));
  CHECK(behind.table_bytes_used() == encoder.table_bytes_used());
  if (!out.empty()) CHECK(reference_behind.matches(out.data(), out.size(), list));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4096) return 0;
  Connection connection;
  while (size >= 2) {
    size_t length = static_cast<size_t>(data[0]) << 8 | data[1];
    data += 2;
    size -= 2;
    if (length > size) length = size;
    // A heap block of its exact size, so that a sanitizer sees a read past it.
    if (!connection.decode_block(std::vector<uint8_t>(data, data + length))) break;
    data += length;
    size -= length;
  }
  return 0;
}
