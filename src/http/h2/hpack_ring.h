// The dynamic table of HPACK (RFC 7541 §2.3.2 and §4): a ring of entries over a sliding window of bytes.
// Both grow on demand up to what the largest size needs; after that nothing allocates.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

#include "http/h2/hpack_bytes.h"
#include "http/header.h"
#include "http/known_names.h"

namespace weir::http::h2 {

inline constexpr uint32_t kEntryOverhead = 32;
inline constexpr uint32_t kDefaultTableBytes = 4096;  // RFC 9113 §6.5.2
inline constexpr uint32_t kTableBytesMax = 64 << 10;

class HpackRing {
 public:
  static constexpr uint8_t kNameMalformed = 1;
  static constexpr uint8_t kValueMalformed = 2;
  struct Entry {
    uint32_t hash;       // field_hash of the field
    uint32_t name_hash;  // bytes_hash of the name
    uint32_t position;   // of the bytes: the name unless known, then the value
    uint16_t name_size;
    uint16_t value_size;
    uint8_t known_name;  // 0: the name is stored in front of the value
    Token token;
    uint8_t malformed;   // kNameMalformed, kValueMalformed
    bool odd_name;       // as Field's
    uint16_t name_stored;  // bytes of the name in front of the value; set by insert()

    uint32_t size() const { return uint32_t{name_size} + value_size + kEntryOverhead; }
  };

  // `size_max` is the present limit, which resize() moves up to `size_max_ever`.
  HpackRing(uint32_t size_max, uint32_t size_max_ever) : size_max_(size_max), size_max_ever_(size_max_ever) {}

  uint32_t count() const { return count_; }
  uint32_t size() const { return size_; }
  uint32_t size_max() const { return size_max_; }
  // Number of the newest entry, counting all insertions modulo 2^32 from 1.
  uint32_t newest() const { return newest_; }

  // age 0 is the newest; age < count().
  const Entry& at_age(uint32_t age) const { return entries_[(newest_ - age) & entry_mask_]; }
  // The stored bytes, readable kCopySlack bytes past their end.
  const char* bytes(const Entry& entry) const { return bytes_.get() + (entry.position - base_); }
  std::string_view name(const Entry& entry) const {
    return entry.known_name != 0 ? kKnownNames[entry.known_name].name
                                 : std::string_view(bytes(entry), entry.name_size);
  }

  // Evicts what is over the new limit.
  void resize(uint32_t size_max);
  void clear() { evict_to(0); }
  // Adds an entry of at most size_max(), evicting from the old end first (RFC 7541 §4.4). `entry` has all
  // but `position` and `name_stored`; `name` is not used when it is known. Neither `name` nor `value` may
  // point into this ring.
  void insert(Entry entry, const char* name, const char* value);

 private:
  void evict_to(uint32_t size);
  void grow_entries();
  void make_room(uint32_t bytes);

  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<char[]> bytes_;
  uint32_t entry_mask_ = 0;
  uint32_t entry_capacity_ = 0;
  uint32_t byte_capacity_ = 0;
  uint32_t base_ = 0;  // position of bytes_[0]
  uint32_t tail_ = 0;  // position behind the newest entry's bytes
  uint32_t newest_ = 0;
  uint32_t count_ = 0;
  uint32_t size_ = 0;  // as RFC 7541 §4.1 counts
  uint32_t size_max_;
  uint32_t size_max_ever_;
};

}  // namespace weir::http::h2
