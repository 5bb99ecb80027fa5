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

// What the limits still allow in this block.
struct Admission {
  size_t list_size;
  size_t list_size_max;
  size_t fields_left;

  // Counts one more field; false when it must be dropped.
  bool admit(size_t bytes, HeaderList& out) {
    list_size += bytes + kEntryOverhead;
    if (list_size > list_size_max || fields_left == 0) [[unlikely]] {
      fields_left = 0;
      out.too_large = true;
      return false;
    }
    --fields_left;
    return true;
  }
};

}  // namespace

struct HpackDecoder::Table {
  explicit Table(const HpackLimits& bounds)
      // Until the peer has seen our settings it may use the default size.
      : ring(kDefaultTableBytes, std::max(kDefaultTableBytes, bounds.table_bytes)), limits(bounds) {}

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

  // Appends entry `age` of the dynamic table.
  void append_entry(uint32_t age, Admission& admission, Arena& arena, HeaderList& out) const;
  // Reads one literal at `at` and appends it.
  const uint8_t* literal(const uint8_t* at, const uint8_t* end, Admission& admission, Arena& arena, HeaderList& out);

  HpackRing ring;
  const HpackLimits limits;
};

[[gnu::always_inline]] inline void HpackDecoder::Table::append_entry(uint32_t age, Admission& admission, Arena& arena,
                                                                    HeaderList& out) const {
  const HpackRing::Entry& entry = ring.at_age(age);
  if (entry.malformed != 0) [[unlikely]] out.malformed = true;
  if (!admission.admit(uint32_t{entry.name_size} + entry.value_size, out)) return;
  const uint32_t name_stored = entry.name_stored;
  const uint32_t size = name_stored + entry.value_size;
  char* const copy = arena.allocate(size + kCopySlack);
  copy_with_slack(copy, ring.bytes(entry), size);
  arena.shrink_last(copy + size);
  const char* name = entry.known_name != 0 ? kKnownNames[entry.known_name].name.data() : copy;
  // push_back of an lvalue: its fast path is inlined, that of emplace_back() is not.
  const Field field{std::string_view(name, entry.name_size),
                    std::string_view(copy + name_stored, entry.value_size), entry.hash, entry.token};
  out.fields.push_back(field);
}

// All three literal representations (RFC 7541 §6.2). Text and, if it is not a known one, the name come to
// stand next to each other in the arena.
const uint8_t* HpackDecoder::Table::literal(const uint8_t* at, const uint8_t* end, Admission& admission,
                                            Arena& arena, HeaderList& out) {
  const uint8_t first = *at;
  const bool keep = (first & 0x40) != 0;
  uint32_t index;
  if (!read_integer(at, end, keep ? 6 : 4, &index)) return nullptr;

  HpackRing::Entry entry{};
  std::string_view name;
  Literal name_literal, value_literal;
  if (index == 0) {
    if (!name_literal.read(at, end)) return nullptr;
  } else if (index <= kStaticCount) {
    entry.known_name = kStaticTable[index].known_name;
    entry.name_hash = kKnownNames[entry.known_name].hash;
    name = kKnownNames[entry.known_name].name;
  } else {
    uint32_t age = index - kStaticCount - 1;
    if (age >= ring.count()) return nullptr;
    const HpackRing::Entry& named = ring.at_age(age);
    entry.known_name = named.known_name;
    entry.name_hash = named.name_hash;
    entry.malformed = named.malformed & HpackRing::kNameMalformed;
    name = ring.name(named);
  }
  if (!value_literal.read(at, end)) return nullptr;

  size_t name_room = index == 0 ? name_literal.room() : entry.known_name != 0 ? 0 : name.size();
  // One more, because an arena may answer nullptr for no bytes.
  char* const text = arena.allocate(name_room + value_literal.room() + 1);
  char* text_end = text;
  if (index == 0) {
    text_end = name_literal.decode(text);
    if (text_end == nullptr) return nullptr;
    name = std::string_view(text, static_cast<size_t>(text_end - text));
    entry.name_hash = bytes_hash(name);
    entry.known_name = find_known_name(name, entry.name_hash);
    if (entry.known_name != 0) {
      name = kKnownNames[entry.known_name].name;
      text_end = text;
    } else {
      if (name_is_malformed(name.data(), name.size())) entry.malformed |= HpackRing::kNameMalformed;
    }
  } else if (entry.known_name == 0) {
    if (!name.empty()) std::memcpy(text, name.data(), name.size());
    name = std::string_view(text, name.size());
    text_end = text + name.size();
  }
  char* const value_text = text_end;
  text_end = value_literal.decode(value_text);
  if (text_end == nullptr) return nullptr;

  Field field;
  field.name = name;
  field.value = std::string_view(value_text, static_cast<size_t>(text_end - value_text));
  field.hash = combined_hash(entry.name_hash, bytes_hash(field.value));
  field.token = token_of_known_name(entry.known_name);
  field.never_indexed = !keep && (first & 0x10) != 0;
  if (value_is_malformed(field.value.data(), field.value.size())) entry.malformed |= HpackRing::kValueMalformed;
  out.malformed |= entry.malformed != 0;
  if (keep) remember(entry, field);
  if (admission.admit(field.name.size() + field.value.size(), out)) {
    arena.shrink_last(text_end);
    out.fields.push_back(field);
  } else {
    arena.shrink_last(text);
  }
  return at;
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
  const size_t fields_before = out.fields.size();
  Admission admission{out.list_size, limits_.list_bytes_max,
                      fields_before < limits_.fields_max ? limits_.fields_max - fields_before : 0};
  if (out.too_large) admission.fields_left = 0;
  while (at < end) {
    const uint8_t first = *at;
    if (first & 0x80) [[likely]] {
      ++at;
      number = first & 0x7F;
      if (number == 0x7F && !read_integer_tail(at, end, 0x7F, &number)) [[unlikely]] return false;
      if (number > kStaticCount) [[likely]] {
        uint32_t age = number - kStaticCount - 1;
        if (age >= table.ring.count()) [[unlikely]] return false;
        table.append_entry(age, admission, arena, out);
      } else {
        if (number == 0) [[unlikely]] return false;
        const Field& field = kStaticTable[number].field;
        if (admission.admit(field.name.size() + field.value.size(), out)) out.fields.push_back(field);
      }
    } else if ((first & 0xE0) == 0x20) {
      return false;
    } else {
      at = table.literal(at, end, admission, arena, out);
      if (at == nullptr) return false;
    }
  }
  out.list_size = admission.list_size;
  return true;
}

}  // namespace weir::http::h2
