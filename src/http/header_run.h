// A run of header fields that comes again and again at the start of header blocks: made once, then shared by
// whoever decodes, checks, keeps or encodes it. Immutable.
//
// Owner: HeaderRuns, one per worker; references (HeaderRunRef) may be kept by anyone on the worker's thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "http/header.h"
#include "http/message_rules.h"

namespace weir::http {

class HeaderRun {
 public:
  HeaderRun(std::span<const Field> fields, uint32_t hash);
  HeaderRun(const HeaderRun&) = delete;
  HeaderRun& operator=(const HeaderRun&) = delete;

  std::span<const Field> fields() const { return {fields_.get(), count_}; }
  uint32_t size() const { return count_; }
  uint32_t hash() const { return hash_; }
  // RFC 9113 §6.5.2: names + values + 32 per field.
  uint32_t list_size() const { return list_size_; }
  uint64_t tokens() const { return tokens_; }  // token_bit() of each field
  bool odd_names() const { return odd_names_; }  // one of them has an odd name
  const Field* find(Token token) const {       // the first one; not for Token::Other
    uint8_t place = places_[static_cast<size_t>(token)];
    return place != 0 ? &fields_[place - 1] : nullptr;
  }
  // The checks of message_rules.h as they stand behind the run's last field.
  const RequestCheck& request() const { return request_; }
  const ResponseCheck& response() const { return response_; }
  // That of a message of this run alone; nullptr: it would be malformed.
  const MessageHead* head_of_request() const { return good_as_request_ ? &request_.head : nullptr; }
  const MessageHead* head_of_response() const { return good_as_response_ ? &response_.head : nullptr; }
  bool good_as_trailers() const { return good_as_trailers_; }
  // A number that the owner of the runs keeps with this one: what it found out about these fields. 0 at first.
  uint64_t note() const { return note_; }
  void set_note(uint64_t note) { note_ = note; }

 private:
  friend class HeaderRunRef;
  uint64_t note_ = 0;
  uint32_t references_ = 0;
  uint32_t count_;
  uint32_t hash_;
  uint32_t list_size_ = 0;
  uint64_t tokens_ = 0;
  std::array<uint8_t, static_cast<size_t>(Token::Other)> places_{};  // of the first field with the token, from 1
  bool odd_names_ = false;
  bool good_as_request_, good_as_response_, good_as_trailers_;
  RequestCheck request_;
  ResponseCheck response_;
  std::unique_ptr<Field[]> fields_;
  std::unique_ptr<char[]> text_;
};

inline const Field* HeaderList::find(Token token) const {
  if (run != nullptr) {
    if (const Field* f = run->find(token)) return f;
  }
  for (const Field& f : fields) {
    if (f.token == token) return &f;
  }
  return nullptr;
}

inline size_t HeaderList::size() const { return fields.size() + (run != nullptr ? run->size() : 0); }

template <class F>
void HeaderList::for_each(F&& f) const {
  if (run != nullptr) {
    for (const Field& field : run->fields()) f(field);
  }
  for (const Field& field : fields) f(field);
}

inline void HeaderList::unfold() {
  if (run == nullptr) return;
  fields.insert_front(run->fields());
  loose_tokens |= run->tokens();
  odd_names |= run->odd_names();
  run = nullptr;
}

inline uint64_t HeaderList::tokens() const { return run != nullptr ? loose_tokens | run->tokens() : loose_tokens; }

// A counted reference; not for several threads.
class HeaderRunRef {
 public:
  HeaderRunRef() = default;
  explicit HeaderRunRef(HeaderRun* run) : run_(run) {
    if (run_ != nullptr) ++run_->references_;
  }
  HeaderRunRef(const HeaderRunRef& other) : HeaderRunRef(other.run_) {}
  HeaderRunRef(HeaderRunRef&& other) noexcept : run_(std::exchange(other.run_, nullptr)) {}
  HeaderRunRef& operator=(HeaderRunRef other) noexcept {
    std::swap(run_, other.run_);
    return *this;
  }
  [[gnu::always_inline]] ~HeaderRunRef() {
    if (run_ != nullptr && --run_->references_ == 0) [[unlikely]] destroy(run_);
  }
  HeaderRun* get() const { return run_; }
  HeaderRun* operator->() const { return run_; }
  HeaderRun& operator*() const { return *run_; }
  explicit operator bool() const { return run_ != nullptr; }

 private:
  [[gnu::noinline]] static void destroy(HeaderRun* run) { delete run; }
  HeaderRun* run_ = nullptr;
};

// Equal runs are one object, as long as the table remembers it: at most kSlots are remembered, a new one takes
// the place of an older one.
class HeaderRuns {
 public:
  static constexpr uint32_t kSlots = 512;
  HeaderRunRef intern(std::span<const Field> fields);

 private:
  std::array<HeaderRunRef, kSlots> slots_;
};

}  // namespace weir::http
