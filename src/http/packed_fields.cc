#include "http/packed_fields.h"

#include <cstring>

#include "base/copy.h"

namespace weir::http {

namespace {
struct Entry {
  uint32_t name_size;
  uint32_t value_size;
  uint32_t hash;
  Token token;
  bool never_indexed;
  bool unique;
};
}  // namespace

size_t packed_size(std::span<const Field> fields) {
  size_t bytes = 0;
  for (const Field& f : fields) bytes += sizeof(Entry) + f.name.size() + f.value.size();
  return bytes;
}

void write_packed(std::span<const Field> fields, uint8_t* p) {
  for (const Field& f : fields) {
    Entry entry{static_cast<uint32_t>(f.name.size()), static_cast<uint32_t>(f.value.size()), f.hash, f.token,
                f.never_indexed, f.unique};
    std::memcpy(p, &entry, sizeof entry);
    p += sizeof entry;
    copy_short(p, f.name.data(), f.name.size());
    p += f.name.size();
    copy_short(p, f.value.data(), f.value.size());
    p += f.value.size();
  }
}

void unpack_fields(std::span<const uint8_t> packed, std::vector<Field>& out) {
  const uint8_t* p = packed.data();
  const uint8_t* end = p + packed.size();
  while (p < end) {
    Entry entry;
    std::memcpy(&entry, p, sizeof entry);
    p += sizeof entry;
    std::string_view name(reinterpret_cast<const char*>(p), entry.name_size);
    p += entry.name_size;
    std::string_view value(reinterpret_cast<const char*>(p), entry.value_size);
    p += entry.value_size;
    out.push_back({name, value, entry.hash, entry.token, entry.never_indexed, entry.unique});
  }
}

}  // namespace weir::http
