#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/copy.h"
#include "http/h2/hpack.h"
#include "http/h2/hpack_bytes.h"
#include "http/h2/hpack_ring.h"
#include "http/h2/hpack_static.h"

namespace weir::http::h2 {

namespace {

constexpr uint32_t kEncoderTableBytesMax = 4096;
constexpr size_t kIndexedValueMax = 1024;  // longer values are not worth a quarter of the table
constexpr uint32_t kSlots = 256;           // at least twice the entries that fit into the table
constexpr uint32_t kProbes = 4;
constexpr uint32_t kSeenSlots = 64;
constexpr uint32_t kEncodedRuns = 16;  // each run has two places
constexpr size_t kEncodedRunBytesMax = 32;
constexpr size_t kFieldBytesMax = 3 * kIntegerBytesMax;  // beside name and value
constexpr uint32_t kNotFound = UINT32_MAX;
constexpr uint8_t kIndexed = 0x80, kWithIndexing = 0x40, kSizeUpdate = 0x20, kNeverIndexed = 0x10;

// The static entries whose values are worth a look before the dynamic table, by token.
struct StaticRange {
  uint8_t first;
  uint8_t last;
};
constexpr std::array<StaticRange, static_cast<size_t>(Token::LastPseudo) + 1> kStaticRanges = {
    {{1, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 14}, {1, 0}}};

// A block on its way into a buffer. The writer has room for all indexes and known runs of the block from the start;
// whoever writes more makes room for that and for those again.
class Block {
 public:
  Block(Buffer& out, size_t indexes, size_t runs)
      : out_(out), room_(indexes * kIntegerBytesMax + runs * kEncodedRunBytesMax) {}
  uint8_t* begin() { return out_.reserve(room_); }
  // Room for `bytes`, too; the block goes on where this returns.
  uint8_t* more(uint8_t* to, size_t bytes) {
    end(to);
    return out_.reserve(bytes + room_);
  }
  void end(uint8_t* to) { out_.commit(static_cast<size_t>(to - (out_.data() + out_.size()))); }
  Buffer& out() { return out_; }

 private:
  Buffer& out_;
  size_t room_;
};

// Other bits than those by which entries are found, and all of them count.
constexpr uint32_t spread(uint32_t hash) { return (hash * 0x9E3779B1u) >> 16; }

}  // namespace

// Finds entries by hash: `slots` holds the lower halves of entry numbers. Nothing is ever removed: a number
// that is no longer among the entries is a free slot, and an entry whose slot was taken by another is just
// not found any more.
struct HpackEncoder::Table {
  Table() : ring(kDefaultTableBytes, kEncoderTableBytesMax) {}

  uint32_t age_in(uint32_t slot) const { return static_cast<uint16_t>(ring.newest() - slots[slot % kSlots]); }
  uint32_t find(const Field& field, uint32_t hash) const;
  uint32_t name_index(Token token, uint8_t known_name) const;
  void insert(const Field& field, uint32_t hash, Token token, uint8_t known_name);
  // Whether this pair came before (or one with the same hash, which costs nothing but room); notes it.
  bool seen_before(uint32_t hash) {
    std::array<uint32_t, 2>& places = seen[spread(hash) % kSeenSlots];  // two, so that no pair shuts each other out
    bool same = places[0] == hash || places[1] == hash;
    if (places[0] != hash) places = {hash, places[0]};
    return same;
  }
  [[gnu::always_inline]] uint8_t* put(const Field& field, uint8_t* to, Block& block);
  uint8_t* literal(const Field& field, uint32_t hash, Token token, uint8_t* to, Block& block);

  // What a run was written as; right as long as the table did not change since.
  struct EncodedRun {
    HeaderRunRef run;
    uint32_t changes = 0;
    uint8_t size = 0;
    std::array<uint8_t, kEncodedRunBytesMax> bytes;
  };
  std::pair<EncodedRun&, EncodedRun&> places_of(const HeaderRun& run) {
    return {encoded[run.hash() % kEncodedRuns], encoded[spread(run.hash()) % kEncodedRuns]};
  }
  const EncodedRun* find(const HeaderRun& run) {
    auto serves = [&](const EncodedRun& known) { return known.run.get() == &run && known.changes == changes; };
    auto [one, other] = places_of(run);
    return serves(one) ? &one : serves(other) ? &other : nullptr;
  }
  uint8_t* put(HeaderRun& run, uint8_t* to, Block& block);
  uint8_t* put_anew(HeaderRun& run, uint8_t* to, Block& block);
  std::array<EncodedRun, kEncodedRuns> encoded{};
  uint32_t changes = 0;   // of the dynamic table
  uint32_t literals = 0;  // written so far
  HpackRing ring;
  std::array<uint16_t, kSlots> slots{};
  std::array<std::array<uint32_t, 2>, kSeenSlots> seen{};
  std::array<uint32_t, kTokenCount> newest_of_token{};  // entry numbers, perhaps evicted
};

[[gnu::always_inline]] inline uint32_t HpackEncoder::Table::find(const Field& field, uint32_t hash) const {
  for (uint32_t probe = 0; probe < kProbes; ++probe) {
    uint32_t age = age_in(hash + probe);
    if (age >= ring.count()) continue;
    const HpackRing::Entry& entry = ring.at_age(age);
    if (entry.hash != hash || entry.value_size != field.value.size()) continue;
    // A known name mostly is the very same bytes.
    if (entry.name_size != field.name.size()) continue;
    const char* name = ring.name(entry).data();
    if (name != field.name.data() && !bytes_equal(name, field.name.data(), entry.name_size)) continue;
    const char* value = ring.bytes(entry) + entry.name_stored;
    if (bytes_equal(value, field.value.data(), entry.value_size)) return age;
  }
  return kNotFound;
}

// 0 when the name stands in neither table.
uint32_t HpackEncoder::Table::name_index(Token token, uint8_t known_name) const {
  if (uint32_t index = kStaticIndexOfName[known_name]; index != 0) return index;
  if (token == Token::Other || ring.count() == 0) return 0;
  uint32_t age = ring.newest() - newest_of_token[static_cast<size_t>(token)];
  if (age >= ring.count() || ring.at_age(age).token != token) return 0;
  return kStaticCount + 1 + age;
}

void HpackEncoder::Table::insert(const Field& field, uint32_t hash, Token token, uint8_t known_name) {
  HpackRing::Entry entry{};
  entry.hash = hash;
  entry.token = token;
  entry.known_name = known_name;
  entry.name_size = static_cast<uint16_t>(field.name.size());
  entry.value_size = static_cast<uint16_t>(field.value.size());
  ring.insert(entry, field.name.data(), field.value.data());
  ++changes;
  if (token != Token::Other) newest_of_token[static_cast<size_t>(token)] = ring.newest();
  // The new entry is not in `slots` yet, but its age is 0: a slot with a stale equal number counts as free.
  uint32_t best = hash;
  uint32_t best_age = 0;
  for (uint32_t probe = 0; probe < kProbes; ++probe) {
    uint32_t age = age_in(hash + probe);
    if (age == 0) age = kNotFound;
    if (age > best_age) {
      best = hash + probe;
      best_age = age;
    }
  }
  slots[best % kSlots] = static_cast<uint16_t>(ring.newest());
}

[[gnu::noinline]] uint8_t* HpackEncoder::Table::literal(const Field& field, uint32_t hash, Token token, uint8_t* to,
                                                     Block& block) {
  uint8_t known_name = known_name_of(token);
  if (known_name == 0) {
    known_name = field.unique ? static_cast<uint8_t>(hash) : find_known_name(field.name, bytes_hash(field.name));
  }
  uint32_t index = name_index(token, known_name);
  // The entries with an empty value, and accept-encoding.
  bool is_static = index != 0 && index <= kStaticCount;
  if (is_static && !field.never_indexed && kStaticTable[index].field.value == field.value) {
    return append_integer(to, kIndexed, 7, index);
  }
  ++literals;
  to = block.more(to, field.name.size() + field.value.size() + kFieldBytesMax);
  bool keep = false;
  if (field.never_indexed) {
    to = append_integer(to, kNeverIndexed, 4, index);
  } else if (field.unique) {
    to = append_integer(to, 0, 4, index);
  } else {
    size_t size = field.name.size() + field.value.size() + kEntryOverhead;
    keep = field.value.size() <= kIndexedValueMax && size <= ring.size_max() && seen_before(hash);
    to = keep ? append_integer(to, kWithIndexing, 6, index) : append_integer(to, 0, 4, index);
  }
  auto append_text = [&to](std::string_view text) {
    to = append_integer(to, 0, 7, static_cast<uint32_t>(text.size()));
    copy_short(to, text.data(), text.size());
    to += text.size();
  };
  if (index == 0) append_text(field.name);
  append_text(field.value);
  if (keep) insert(field, hash, token, known_name);
  return to;
}

HpackEncoder::HpackEncoder() = default;
HpackEncoder::~HpackEncoder() = default;

uint32_t HpackEncoder::table_bytes_used() const { return table_ ? table_->ring.size() : 0; }

void HpackEncoder::set_peer_table_bytes(uint32_t bytes) {
  peer_table_bytes_ = std::min(bytes, kEncoderTableBytesMax);
  pending_min_ = std::min(pending_min_, peer_table_bytes_);
  size_changed_ = true;
}

void HpackEncoder::begin_block(Buffer& out) {
  if (!table_) [[unlikely]] table_ = std::make_unique<Table>();
  if (size_changed_) [[unlikely]] announce_size(out);
}

void HpackEncoder::announce_size(Buffer& out) {
  HpackRing& ring = table_->ring;
  auto announce = [&](uint32_t size) {
    uint8_t* to = out.reserve(kIntegerBytesMax);
    out.commit(static_cast<size_t>(append_integer(to, kSizeUpdate, 5, size) - to));
    ring.resize(size);
    ++table_->changes;
  };
  // The peer may have shrunk the table and grown it again: it must see us go through the smallest size.
  if (pending_min_ < ring.size_max() && pending_min_ < peer_table_bytes_) announce(pending_min_);
  if (peer_table_bytes_ != ring.size_max()) announce(peer_table_bytes_);
  pending_min_ = UINT32_MAX;
  size_changed_ = false;
}

inline uint8_t* HpackEncoder::Table::put(const Field& field, uint8_t* to, Block& block) {
  uint32_t hash = field.hash;
  Token token = field.token;
  if (field.never_indexed | field.unique) [[unlikely]] return literal(field, hash, token, to, block);
  if (hash == 0) [[unlikely]] {
    hash = field_hash(field.name, field.value);
    if (token == Token::Other) token = token_of(field.name);
  }
  if (token <= Token::LastPseudo) {
    StaticRange range = kStaticRanges[static_cast<size_t>(token)];
    for (uint32_t i = range.first; i <= range.last; ++i) {
      const Field& known = kStaticTable[i].field;
      if (known.hash == hash && known.value == field.value) return append_integer(to, kIndexed, 7, i);
    }
  }
  uint32_t age = find(field, hash);
  if (age != kNotFound) [[likely]] return append_integer(to, kIndexed, 7, kStaticCount + 1 + age);
  return literal(field, hash, token, to, block);
}

void HpackEncoder::encode(std::span<const Field> fields, Buffer& out) {
  WEIR_ASSERT(table_ != nullptr);
  Block block(out, fields.size(), 0);
  uint8_t* to = block.begin();
  for (const Field& f : fields) to = table_->put(f, to, block);
  block.end(to);
}

void HpackEncoder::encode(HeaderRun* prefix, std::span<const Field> fields, HeaderRun* suffix, Buffer& out) {
  begin_block(out);
  Table& table = *table_;
  Block block(out, fields.size(), 2);
  uint8_t* to = block.begin();
  if (prefix != nullptr) to = table.put(*prefix, to, block);
  for (const Field& f : fields) to = table.put(f, to, block);
  if (suffix != nullptr) to = table.put(*suffix, to, block);
  block.end(to);
}

[[gnu::always_inline]] inline uint8_t* HpackEncoder::Table::put(HeaderRun& run, uint8_t* to, Block& block) {
  if (const EncodedRun* known = find(run)) [[likely]] {
    std::memcpy(to, known->bytes.data(), kEncodedRunBytesMax);
    return to + known->size;
  }
  return put_anew(run, to, block);
}

// Encodes the run and remembers how.
[[gnu::noinline]] uint8_t* HpackEncoder::Table::put_anew(HeaderRun& run, uint8_t* to, Block& block) {
  uint32_t changes_before = changes;
  uint32_t literals_before = literals;
  block.end(to);
  size_t start = block.out().size();
  to = block.begin();
  for (const Field& f : run.fields()) to = put(f, block.more(to, kIntegerBytesMax), block);
  block.end(to);
  size_t size = block.out().size() - start;
  // Only indexes: a literal may become an entry when it comes again.
  if (changes == changes_before && literals == literals_before && size <= kEncodedRunBytesMax) {
    auto [one, other] = places_of(run);
    // One that still serves another run stays where the other place does not.
    EncodedRun& known = one.run && one.changes == changes ? other : one;
    known.run = HeaderRunRef(&run);
    known.changes = changes;
    known.size = static_cast<uint8_t>(size);
    std::memcpy(known.bytes.data(), block.out().data() + start, size);
  }
  return to;
}

}  // namespace weir::http::h2
