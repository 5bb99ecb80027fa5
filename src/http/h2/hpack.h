// HPACK (RFC 7541), built for forwarding: what arrived is written out again with few instructions.
//
// Thread: the owner connection's. Neither class allocates in steady state; both create their tables on
// first use, so that an idle connection pays little.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/buffer.h"
#include "http/header.h"
#include "http/header_run.h"

namespace weir::http::h2 {

struct HpackLimits {
  uint32_t table_bytes = 4096;        // our SETTINGS_HEADER_TABLE_SIZE
  uint32_t fields_max = 100;          // per block
  uint32_t list_bytes_max = 64 << 10; // per block, counted as RFC 9113 §6.5.2 (32 bytes per field on top)
};

class HpackDecoder {
 public:
  explicit HpackDecoder(const HpackLimits& limits = {});
  ~HpackDecoder();
  HpackDecoder(const HpackDecoder&) = delete;
  HpackDecoder& operator=(const HpackDecoder&) = delete;

  // Decodes one complete block (all fragments joined); `out` becomes the list of its fields, in order.
  // Returns false on a compression error (RFC 7541): the connection must end with COMPRESSION_ERROR.
  // Character rules are checked once per literal and remembered for entries of the dynamic table; a
  // breach sets out.malformed and decoding goes on. Over a limit out.too_large is set, the table stays
  // right and nothing more is appended. Views in `out` live until `arena` is reset (static strings and
  // copies in the arena; nothing points into the table), those of out.run until the next block is decoded.
  // Every field has token and hash set. With `runs`, the indexed fields that a block begins with are recognised
  // when they come again, and out.run is set.
  bool decode(std::span<const uint8_t> block, Arena& arena, HeaderList& out, HeaderRuns* runs = nullptr);

  uint32_t table_bytes_used() const;

 private:
  struct Table;
  class Lesson;
  HpackLimits limits_;
  std::unique_ptr<Table> table_;
};

class HpackEncoder {
 public:
  HpackEncoder();
  ~HpackEncoder();
  HpackEncoder(const HpackEncoder&) = delete;
  HpackEncoder& operator=(const HpackEncoder&) = delete;

  // The peer's SETTINGS_HEADER_TABLE_SIZE; we use at most 4096 of it. Size updates (RFC 7541 §4.2)
  // are written at the start of the next block.
  void set_peer_table_bytes(uint32_t bytes);

  // Appends a block: the fields of `prefix`, `fields` and those of `suffix`; the runs are optional. What a run was
  // written as is remembered as long as the table does not change.
  void encode(HeaderRun* prefix, std::span<const Field> fields, HeaderRun* suffix, Buffer& out);
  // The same in steps: call once at the start of each block, before its fields.
  void begin_block(Buffer& out);
  // Appends one field. Indexed when it stands in the static or dynamic table; put into the dynamic table
  // when the same name and value were seen before on this connection (so that per-request values never
  // push common ones out); otherwise a literal. never_indexed stays so. No Huffman coding. A field with
  // hash 0 is hashed here.
  void encode(const Field& field, Buffer& out) { encode(std::span(&field, 1), out); }
  void encode(std::span<const Field> fields, Buffer& out);

  uint32_t table_bytes_used() const;

 private:
  struct Table;
  void announce_size(Buffer& out);
  std::unique_ptr<Table> table_;
  uint32_t peer_table_bytes_ = 4096;
  uint32_t pending_min_ = UINT32_MAX;   // smallest size announced since the last block
  bool size_changed_ = false;
};

}  // namespace weir::http::h2
