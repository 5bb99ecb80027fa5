#include <algorithm>
#include <array>
#include <cstring>

#include "base/assert.h"
#include "http/h2/hpack.h"
#include "http/h2/hpack_bytes.h"
#include "http/h2/hpack_ring.h"
#include "http/h2/hpack_static.h"
#include "http/h2/huffman.h"

namespace weir::http::h2 {

namespace {

// RFC 9110 §5.6.2 token characters without upper case.
constexpr auto build_name_characters() {
  std::array<bool, 256> allowed{};
  for (char c = 'a'; c <= 'z'; ++c) allowed[static_cast<uint8_t>(c)] = true;
  for (char c = '0'; c <= '9'; ++c) allowed[static_cast<uint8_t>(c)] = true;
  for (char c : std::string_view("!#$%&'*+-.^_`|~")) allowed[static_cast<uint8_t>(c)] = true;
  return allowed;
}
constexpr auto kNameCharacters = build_name_characters();

bool name_is_malformed(const char* name, size_t size) {
  if (size > 0 && *name == ':') {
    ++name;
    --size;
  }
  bool allowed = size > 0;
  for (size_t i = 0; i < size; ++i) allowed &= kNameCharacters[static_cast<uint8_t>(name[i])];
  return !allowed;
}

bool has_forbidden_byte(const char* bytes, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (bytes[i] == '\0' || bytes[i] == '\r' || bytes[i] == '\n') return true;
  }
  return false;
}

bool value_is_malformed(const char* value, size_t size) {
  if (size == 0) return false;
  auto blank = [](char c) { return c == ' ' || c == '\t'; };
  if (blank(value[0]) || blank(value[size - 1])) return true;
  if (size < 8) return has_forbidden_byte(value, size);
  // Eight at a time, the last eight overlapping: is any byte below 0x20? Then look which.
  constexpr uint64_t kOnes = 0x0101010101010101ull;
  uint64_t below = 0;
  auto look = [&](const char* at) {
    uint64_t word;
    std::memcpy(&word, at, sizeof word);
    below |= (word - kOnes * 0x20) & ~word;
  };
  for (size_t at = 0; at + 8 < size; at += 8) look(value + at);
  look(value + size - 8);
  return (below & kOnes * 0x80) != 0 && has_forbidden_byte(value, size);
}

// A string literal as it stands in the block (RFC 7541 §5.2).
struct Literal {
  const uint8_t* from = nullptr;
  uint32_t size = 0;
  bool huffman = false;

  bool read(const uint8_t*& at, const uint8_t* end) {
    if (at == end) return false;
    huffman = (*at & 0x80) != 0;
    if (!read_integer(at, end, 7, &size) || size > static_cast<size_t>(end - at)) return false;
    from = at;
    at += size;
    return true;
  }
  size_t room() const { return huffman ? huffman_room(size) : size; }
  // Returns the end of the text; nullptr on a wrong Huffman string.
  char* decode(char* to) const {
    if (huffman) return huffman_decode(from, size, to);
    if (size > 0) std::memcpy(to, from, size);
    return to + size;
  }
};

}  // namespace

struct HpackDecoder::Table {
  explicit Table(const HpackLimits& bounds)
      // Until the peer has seen our settings it may use the default size.
      : ring(kDefaultTableBytes, std::max(kDefaultTableBytes, bounds.table_bytes)), limits(bounds) {}

  // Counts one more field; false when it must be dropped.
  bool admit(HeaderList& out, size_t bytes) const {
    out.list_size += bytes + kEntryOverhead;
    if (out.list_size > limits.list_bytes_max || out.fields.size() >= limits.fields_max) [[unlikely]] {
      out.too_large = true;
    }
    return !out.too_large;
  }

  void remember(HpackRing::Entry entry, const Field& field) {
    // An entry that no table could hold still empties it; its sizes need not fit then.
    if (field.name.size() + field.value.size() + kEntryOverhead > ring.size_max()) {
      ring.clear();
      return;
    }
    entry.hash = field.hash;
    entry.token = field.token;
    entry.name_size = static_cast<uint16_t>(field.name.size());
    entry.value_size = static_cast<uint16_t>(field.value.size());
    ring.insert(entry, field.name.data(), field.value.data());
  }

  bool indexed(uint32_t index, Arena& arena, HeaderList& out) const;
  bool literal(const uint8_t*& at, const uint8_t* end, Arena& arena, HeaderList& out);

  HpackRing ring;
  const HpackLimits limits;
};

inline bool HpackDecoder::Table::indexed(uint32_t index, Arena& arena, HeaderList& out) const {
  if (index <= kStaticCount) {
    if (index == 0) [[unlikely]] return false;
    const Field& field = kStaticTable[index].field;
    if (admit(out, field.name.size() + field.value.size())) out.fields.push_back(field);
    return true;
  }
  uint32_t age = index - kStaticCount - 1;
  if (age >= ring.count()) [[unlikely]] return false;
  const HpackRing::Entry& entry = ring.at_age(age);
  out.malformed |= entry.name_malformed | entry.value_malformed;
  if (!admit(out, uint32_t{entry.name_size} + entry.value_size)) return true;
  uint32_t size = entry.stored_size();
  char* copy = arena.allocate(size + kCopySlack);
  copy_with_slack(copy, ring.bytes(entry), size);
  arena.shrink_last(copy + size);
  Field field;
  field.name = entry.known_name != 0 ? kKnownNames[entry.known_name].name
                                     : std::string_view(copy, entry.name_size);
  field.value = std::string_view(copy + entry.stored_name_size(), entry.value_size);
  field.hash = entry.hash;
  field.token = entry.token;
  out.fields.push_back(field);
  return true;
}

// All three literal representations (RFC 7541 §6.2). Text and, if it is not a known one, the name come to
// stand next to each other in the arena.
bool HpackDecoder::Table::literal(const uint8_t*& at, const uint8_t* end, Arena& arena, HeaderList& out) {
  const uint8_t first = *at;
  const bool keep = (first & 0x40) != 0;
  uint32_t index;
  if (!read_integer(at, end, keep ? 6 : 4, &index)) return false;

  HpackRing::Entry entry{};
  std::string_view name;
  Literal name_literal, value_literal;
  if (index == 0) {
    if (!name_literal.read(at, end)) return false;
  } else if (index <= kStaticCount) {
    entry.known_name = kStaticTable[index].known_name;
    entry.name_hash = kKnownNames[entry.known_name].hash;
    name = kKnownNames[entry.known_name].name;
  } else {
    uint32_t age = index - kStaticCount - 1;
    if (age >= ring.count()) return false;
    const HpackRing::Entry& named = ring.at_age(age);
    entry.known_name = named.known_name;
    entry.name_hash = named.name_hash;
    entry.name_malformed = named.name_malformed;
    name = ring.name(named);
  }
  if (!value_literal.read(at, end)) return false;

  size_t name_room = index == 0 ? name_literal.room() : entry.known_name != 0 ? 0 : name.size();
  char* const text = arena.allocate(name_room + value_literal.room());
  char* text_end = text;
  if (index == 0) {
    text_end = name_literal.decode(text);
    if (text_end == nullptr) return false;
    name = std::string_view(text, static_cast<size_t>(text_end - text));
    entry.name_hash = bytes_hash(name);
    entry.known_name = find_known_name(name, entry.name_hash);
    if (entry.known_name != 0) {
      name = kKnownNames[entry.known_name].name;
      text_end = text;
    } else {
      entry.name_malformed = name_is_malformed(name.data(), name.size());
    }
  } else if (entry.known_name == 0) {
    if (!name.empty()) std::memcpy(text, name.data(), name.size());
    name = std::string_view(text, name.size());
    text_end = text + name.size();
  }
  char* const value_text = text_end;
  text_end = value_literal.decode(value_text);
  if (text_end == nullptr) return false;

  Field field;
  field.name = name;
  field.value = std::string_view(value_text, static_cast<size_t>(text_end - value_text));
  field.hash = combined_hash(entry.name_hash, bytes_hash(field.value));
  field.token = token_of_known_name(entry.known_name);
  field.never_indexed = !keep && (first & 0x10) != 0;
  entry.value_malformed = value_is_malformed(field.value.data(), field.value.size());
  out.malformed |= entry.name_malformed | entry.value_malformed;
  if (keep) remember(entry, field);
  if (admit(out, field.name.size() + field.value.size())) {
    arena.shrink_last(text_end);
    out.fields.push_back(field);
  } else {
    arena.shrink_last(text);
  }
  return true;
}

HpackDecoder::HpackDecoder(const HpackLimits& limits) : limits_(limits) {
  WEIR_ASSERT(limits.table_bytes <= kTableBytesMax);
}
HpackDecoder::~HpackDecoder() = default;

uint32_t HpackDecoder::table_bytes_used() const { return table_ ? table_->ring.size() : 0; }

bool HpackDecoder::decode(std::span<const uint8_t> block, Arena& arena, HeaderList& out) {
  if (!table_) table_ = std::make_unique<Table>(limits_);
  Table& table = *table_;
  const uint8_t* at = block.data();
  const uint8_t* const end = at + block.size();
  uint32_t number;
  // Size updates stand before the first field (RFC 7541 §4.2).
  while (at < end && (*at & 0xE0) == 0x20) {
    if (!read_integer(at, end, 5, &number) || number > limits_.table_bytes) return false;
    table.ring.resize(number);
  }
  while (at < end) {
    uint8_t first = *at;
    if (first & 0x80) [[likely]] {
      if (!read_integer(at, end, 7, &number) || !table.indexed(number, arena, out)) return false;
    } else if ((first & 0xE0) == 0x20) {
      return false;
    } else if (!table.literal(at, end, arena, out)) {
      return false;
    }
  }
  return true;
}

}  // namespace weir::http::h2
