// Header fields as the HPACK decoder hands them out and the encoder takes them. Names are lower case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

namespace weir::http {

// Names the proxy acts on, so that nobody compares strings on the hot path. Pseudo-header fields first.
enum class Token : uint8_t {
  Authority, Method, Path, Scheme, Status, Protocol,
  LastPseudo = Protocol,
  Connection, KeepAlive, ProxyConnection, TransferEncoding, Upgrade, Te, Host, ContentLength, Cookie, Expect,
  ContentType, UserAgent, GrpcTimeout, GrpcStatus, GrpcMessage, Server, Date,
  XForwardedFor, XForwardedProto, XForwardedPort, XAmznTraceId, XAmznTlsVersion, XAmznTlsCipherSuite,
  Other,
};

// The token of a lower-case name (Token::Other when it is none of the above).
Token token_of(std::string_view name);

// A hash of name and value that is stable within the process; never 0.
uint32_t field_hash(std::string_view name, std::string_view value);

struct Field {
  std::string_view name;
  std::string_view value;
  uint32_t hash = 0;  // field_hash(name, value), or 0 when not computed yet; of a unique field: see there
  Token token = Token::Other;
  bool never_indexed = false;  // RFC 7541 §6.2.3: an intermediary must keep it
  bool unique = false;         // will not come again: neither looked up nor entered into a table. `hash` is the id of
                               // the name among the known ones (known_names.h); 0: none, or that of the token
  bool odd_name = false;       // the name has other characters than letters, digits and '-'
};

// Whether `text` is this literal; short ones are compared as numbers.
template <size_t size>
constexpr bool is(std::string_view text, const char (&literal)[size]) {
  return text.size() == size - 1 && __builtin_memcmp(text.data(), literal, size - 1) == 0;
}

constexpr uint64_t token_bit(Token token) { return uint64_t{1} << static_cast<unsigned>(token); }

class HeaderRun;

// As a vector of fields, but what a header block does most takes few instructions: to append, and to be a span.
class FieldList {
 public:
  FieldList() = default;
  explicit FieldList(std::span<const Field> fields) { assign(fields); }
  FieldList(const FieldList& other) : FieldList(std::span<const Field>(other)) {}
  FieldList(FieldList&& other) noexcept { swap(other); }
  FieldList& operator=(FieldList other) noexcept {
    swap(other);
    return *this;
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Field* begin() { return fields_.get(); }
  Field* end() { return fields_.get() + size_; }
  const Field* begin() const { return fields_.get(); }
  const Field* end() const { return fields_.get() + size_; }
  Field& operator[](size_t i) { return fields_[i]; }
  const Field& operator[](size_t i) const { return fields_[i]; }
  void clear() { size_ = 0; }
  // Not a field of this list.
  [[gnu::always_inline]] void push_back(const Field& field) {
    if (size_ == capacity_) [[unlikely]] grow(size_ + 1);
    fields_[size_] = field;
    ++size_;
  }
  // Neither takes fields of this list.
  void assign(std::span<const Field> fields);
  void insert_front(std::span<const Field> fields);
  template <class F>
  void erase_if(F&& f) {  // f(Field&): true takes it out; it may change it
    size_t kept = 0;
    for (size_t i = 0; i < size_; ++i) {
      if (f(fields_[i])) continue;
      if (kept != i) fields_[kept] = fields_[i];
      ++kept;
    }
    size_ = kept;
  }

 private:
  [[gnu::noinline]] void grow(size_t size_min);
  void swap(FieldList& other) noexcept {
    std::swap(fields_, other.fields_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }
  std::unique_ptr<Field[]> fields_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// One decoded header block. Reused from block to block, so that it does not allocate in steady state.
struct HeaderList {
  HeaderRun* run = nullptr;  // the fields that come first; nullptr: they stand in `fields`, too
  FieldList fields;
  uint64_t loose_tokens = 0; // token_bit() of every field in `fields`, as they were decoded
  size_t list_size = 0;      // RFC 9113 §6.5.2: names + values + 32 per field
  bool too_large = false;    // over the limit: the rest was decoded (table state is right) but dropped
  bool odd_names = false;    // one of `fields` has an odd name
  bool malformed = false;    // RFC 9113 §8.2.1: a name or value with forbidden characters
  void clear() {
    fields.clear();
    run = nullptr;
    loose_tokens = 0;
    list_size = 0;
    too_large = malformed = odd_names = false;
  }
  // As the next one of a block.
  [[gnu::always_inline]] void add(const Field& field) {
    fields.push_back(field);
    loose_tokens |= token_bit(field.token);
    odd_names |= field.odd_name;
  }
  // Puts the run's fields in front of the others, so that they may be changed.
  void unfold();
  size_t size() const;
  template <class F>
  void for_each(F&& f) const;  // f(field), in order
  uint64_t tokens() const;  // token_bit() of every field, as they were decoded
  const Field* find(Token token) const;  // the first one; not for Token::Other
};

}  // namespace weir::http
