#include <algorithm>
#include <array>
#include <cstring>

#include "base/assert.h"
#include "base/copy.h"
#include "http/h2/hpack.h"
#include "http/h2/hpack_bytes.h"
#include "http/h2/hpack_ring.h"
#include "http/h2/hpack_static.h"
#include "http/h2/huffman.h"

namespace weir::http::h2 {

namespace {

constexpr uint8_t kAllowed = 1, kPlain = 2;

// RFC 9110 §5.6.2 token characters without upper case; letters, digits and '-' are the plain ones.
constexpr auto build_name_characters() {
  std::array<uint8_t, 256> kinds{};
  for (char c : std::string_view("!#$%&'*+.^_`|~")) kinds[static_cast<uint8_t>(c)] = kAllowed;
  for (char c = 'a'; c <= 'z'; ++c) kinds[static_cast<uint8_t>(c)] = kAllowed | kPlain;
  for (char c = '0'; c <= '9'; ++c) kinds[static_cast<uint8_t>(c)] = kAllowed | kPlain;
  kinds[static_cast<uint8_t>('-')] = kAllowed | kPlain;
  return kinds;
}
constexpr auto kNameCharacters = build_name_characters();

// Of all its characters.
uint8_t kind_of_name(std::string_view name) {
  if (name.starts_with(':')) name.remove_prefix(1);
  uint8_t kind = name.empty() ? 0 : kAllowed | kPlain;
  for (char c : name) kind &= kNameCharacters[static_cast<uint8_t>(c)];
  return kind;
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
  [[gnu::always_inline]] char* decode(char* to) const {
    if (huffman) return huffman_decode(from, size, to);
    copy_short(to, from, size);
    return to + size;
  }
};

// A run of indexed fields that blocks of this connection began with. Entries are told apart by their numbers,
// so that it is found again although the indexes move on.
struct Memo {
  static constexpr uint32_t kFieldsMax = 16;
  static constexpr uint32_t kMemos = 8;
  HeaderRunRef run;
  uint32_t changes = 0;                   // of the table, when `bytes` was the run
  bool settled = false;                   // blocks differ right behind it: it does not grow
  std::array<uint8_t, kFieldsMax> bytes;  // the run as it came last
  std::array<uint32_t, kFieldsMax> ids;
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
  // The same for a run; false: take it field by field.
  bool admit(const HeaderRun& run) {
    if (run.size() > fields_left || list_size + run.list_size() > list_size_max) return false;
    fields_left -= run.size();
    list_size += run.list_size();
    return true;
  }
};

}  // namespace

struct HpackDecoder::Table {
  explicit Table(const HpackLimits& bounds)
      // Until the peer has seen our settings it may use the default size.
      : ring(kDefaultTableBytes, std::max(kDefaultTableBytes, bounds.table_bytes)), limits(bounds) {}

  void remember(HpackRing::Entry entry, const Field& field) {
    ++changes;
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

  bool take_size_updates(const uint8_t*& at, const uint8_t* end) {
    uint32_t size;
    while (at < end && (*at & 0xE0) == 0x20) {
      if (!read_integer(at, end, 5, &size) || size > limits.table_bytes) return false;
      ring.resize(size);
      ++changes;
    }
    return true;
  }
  bool decode_fields(const uint8_t* at, const uint8_t* end, Admission& admission, Arena& arena,
                     HeaderList& out);
  // Appends entry `age` of the dynamic table.
  void append_entry(uint32_t age, Admission& admission, Arena& arena, HeaderList& out) const;
  // Reads one literal at `at` and appends it.
  const uint8_t* literal(const uint8_t* at, const uint8_t* end, Admission& admission, Arena& arena,
                         HeaderList& out);

  // What the byte says if it is an indexed field: the static index, or the entry's number with the top bit.
  // 0: anything else, an index of more than one byte too.
  uint32_t id_of(uint8_t byte) const {
    if (byte <= 0x80 || byte == 0xFF) return 0;
    uint32_t index = byte & 0x7F;
    if (index <= kStaticCount) return index;
    uint32_t age = index - kStaticCount - 1;
    return age < ring.count() ? 0x80000000u | (ring.newest() - age) : 0;
  }
  Memo& memo_of(const uint8_t* at, const uint8_t* end);
  bool begins_with(Memo& memo, const uint8_t* at, const uint8_t* end) const;

  HpackRing ring;
  const HpackLimits limits;
  uint32_t changes = 0;  // of the dynamic table
  std::unique_ptr<std::array<Memo, Memo::kMemos>> memos;
  HeaderRunRef replaced;  // the run of the present block, when its memo has a longer one now
};

// By the first bytes: method and path mostly.
Memo& HpackDecoder::Table::memo_of(const uint8_t* at, const uint8_t* end) {
  if (!memos) memos = std::make_unique<std::array<Memo, Memo::kMemos>>();
  uint32_t first = 0;
  if (end - at >= 4) [[likely]] {
    std::memcpy(&first, at, sizeof first);
  } else {
    first = uint32_t{at[0]} << 16 | uint32_t{at[(end - at) >> 1]} << 8 | end[-1];
  }
  return (*memos)[(first * 0x9E3779B9u) >> 29];
}

bool HpackDecoder::Table::begins_with(Memo& memo, const uint8_t* at, const uint8_t* end) const {
  if (!memo.run) return false;
  uint32_t size = memo.run->size();
  if (static_cast<size_t>(end - at) < size) return false;
  auto bytes = [](const uint8_t* p) { return reinterpret_cast<const char*>(p); };
  if (memo.changes == changes && bytes_equal(bytes(memo.bytes.data()), bytes(at), size)) [[likely]]
    return true;
  for (uint32_t i = 0; i < size; ++i) {
    if (id_of(at[i]) != memo.ids[i]) return false;
  }
  memo.changes = changes;
  std::memcpy(memo.bytes.data(), at, size);
  return true;
}

// Looks at the indexed fields a block begins with before it is decoded, and makes a run of them when it was.
class HpackDecoder::Lesson {
 public:
  // A block that does not begin with the memo's run, or whose indexed fields go on behind it.
  void prepare(const Table& table, Memo& memo, const uint8_t* at, const uint8_t* end, bool hit) {
    uint32_t size = 0;
    for (; size < Memo::kFieldsMax && at + size < end; ++size) {
      ids_[size] = table.id_of(at[size]);
      if (ids_[size] == 0) break;
    }
    settled_ = false;
    if (!hit && memo.run) {  // what both begin with, if that is worth while
      uint32_t common = 0;
      while (common < std::min(size, memo.run->size()) && ids_[common] == memo.ids[common]) ++common;
      if (common >= kCommonMin) {
        settled_ = common < size;
        size = common;
      }
    }
    if (size < (end - at == 1 ? 1 : kRunMin) || (hit && size <= memo.run->size())) return;
    memo_ = &memo;
    first_ = at;
    size_ = size;
    changes_ = table.changes;
  }
  bool any() const { return memo_ != nullptr; }
  // Returns the memo's run until now, to which the list may point.
  HeaderRunRef learn(const HeaderList& list, HeaderRuns& runs) {
    if (list.malformed || list.too_large || list.size() < size_) return {};
    std::vector<Field> fields;
    size_t bytes = 0;
    list.for_each([&](const Field& f) {
      if (fields.size() == size_) return;
      fields.push_back(f);
      bytes += f.name.size() + f.value.size();
    });
    if (bytes > kRunBytesMax) return {};
    HeaderRunRef before = std::exchange(memo_->run, runs.intern(fields));
    memo_->changes = changes_;
    memo_->settled = settled_;
    memo_->ids = ids_;
    std::memcpy(memo_->bytes.data(), first_, size_);
    return before;
  }

 private:
  static constexpr uint32_t kRunMin = 2;  // of a longer block; alone one field may stand: most trailers are such
  static constexpr uint32_t kCommonMin = 3;
  static constexpr size_t kRunBytesMax = 4096;  // a byte may name 4 KB: longer ones are not worth the memory
  Memo* memo_ = nullptr;
  const uint8_t* first_ = nullptr;
  uint32_t size_ = 0;
  uint32_t changes_ = 0;
  bool settled_ = false;
  std::array<uint32_t, Memo::kFieldsMax> ids_;
};

[[gnu::always_inline]] inline void HpackDecoder::Table::append_entry(uint32_t age, Admission& admission,
                                                                     Arena& arena, HeaderList& out) const {
  const HpackRing::Entry& entry = ring.at_age(age);
  if (entry.malformed != 0) [[unlikely]]
    out.malformed = true;
  if (!admission.admit(uint32_t{entry.name_size} + entry.value_size, out)) return;
  const uint32_t name_stored = entry.name_stored;
  const uint32_t size = name_stored + entry.value_size;
  char* const copy = arena.allocate(size + kCopySlack);
  copy_with_slack(copy, ring.bytes(entry), size);
  arena.shrink_last(copy + size);
  const char* name = entry.known_name != 0 ? kKnownNames[entry.known_name].name.data() : copy;
  const Field field{std::string_view(name, entry.name_size),
                    std::string_view(copy + name_stored, entry.value_size), entry.hash, entry.token,
                    false, false, entry.odd_name};
  out.add(field);
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
    entry.odd_name = named.odd_name;
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
      uint8_t kind = kind_of_name(name);
      if (!(kind & kAllowed)) entry.malformed |= HpackRing::kNameMalformed;
      entry.odd_name = !(kind & kPlain);
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
  field.token = token_of_known_name(entry.known_name);
  field.never_indexed = !keep && (first & 0x10) != 0;
  field.odd_name = entry.odd_name;
  // Metadata that the peer keeps out of its table (ids, timestamps) stays out of ours.
  field.unique = !keep && field.token == Token::Other;
  field.hash = field.unique ? entry.known_name : combined_hash(entry.name_hash, bytes_hash(field.value));
  if (value_is_malformed(field.value.data(), field.value.size()))
    entry.malformed |= HpackRing::kValueMalformed;
  out.malformed |= entry.malformed != 0;
  if (keep) remember(entry, field);
  if (admission.admit(field.name.size() + field.value.size(), out)) {
    arena.shrink_last(text_end);
    out.add(field);
  } else {
    arena.shrink_last(text);
  }
  return at;
}

// Fields until the end of the block; false on a compression error.
[[gnu::always_inline]] inline bool HpackDecoder::Table::decode_fields(const uint8_t* at, const uint8_t* end,
                                                                      Admission& admission, Arena& arena,
                                                                      HeaderList& out) {
  uint32_t number;
  while (at < end) {
    const uint8_t first = *at;
    if (first & 0x80) [[likely]] {
      ++at;
      number = first & 0x7F;
      if (number == 0x7F && !read_integer_tail(at, end, 0x7F, &number)) [[unlikely]]
        return false;
      if (number > kStaticCount) [[likely]] {
        uint32_t age = number - kStaticCount - 1;
        if (age >= ring.count()) [[unlikely]]
          return false;
        append_entry(age, admission, arena, out);
      } else {
        if (number == 0) [[unlikely]]
          return false;
        const Field& field = kStaticTable[number].field;
        if (admission.admit(field.name.size() + field.value.size(), out)) out.add(field);
      }
    } else if ((first & 0xE0) == 0x20) {
      return false;
    } else {
      at = literal(at, end, admission, arena, out);
      if (at == nullptr) return false;
    }
  }
  return true;
}

HpackDecoder::HpackDecoder(const HpackLimits& limits) : limits_(limits) {
  WEIR_ASSERT(limits.table_bytes <= kTableBytesMax);
}
HpackDecoder::~HpackDecoder() = default;

uint32_t HpackDecoder::table_bytes_used() const { return table_ ? table_->ring.size() : 0; }

bool HpackDecoder::decode(std::span<const uint8_t> block, Arena& arena, HeaderList& out, HeaderRuns* runs) {
  if (!table_) [[unlikely]] table_ = std::make_unique<Table>(limits_);
  out.clear();
  Table& table = *table_;
  const uint8_t* at = block.data();
  const uint8_t* const end = at + block.size();
  if (at == end) return true;
  // Size updates stand before the first field (RFC 7541 §4.2).
  if ((*at & 0xE0) == 0x20) [[unlikely]] {
    if (!table.take_size_updates(at, end)) return false;
    if (at == end) return true;
  }
  Admission admission{0, limits_.list_bytes_max, limits_.fields_max};
  if (runs == nullptr || (*at & 0x80) == 0) {
    if (!table.decode_fields(at, end, admission, arena, out)) return false;
  } else {
    Lesson lesson;
    Memo& memo = table.memo_of(at, end);
    bool hit = table.begins_with(memo, at, end) && admission.admit(*memo.run);
    if (!hit || (!memo.settled && at + memo.run->size() < end && at[memo.run->size()] >= 0x80)) [[unlikely]] {
      lesson.prepare(table, memo, at, end, hit);
    }
    if (hit) {
      out.run = memo.run.get();
      at += out.run->size();
    }
    if (!table.decode_fields(at, end, admission, arena, out)) return false;
    if (lesson.any()) [[unlikely]]
      table.replaced = lesson.learn(out, *runs);
  }
  out.list_size = admission.list_size;
  return true;
}

}  // namespace weir::http::h2
