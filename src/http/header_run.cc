#include "http/header_run.h"

#include <algorithm>
#include <cstring>

#include "http/known_names.h"

namespace weir::http {

HeaderRun::HeaderRun(std::span<const Field> fields, uint32_t hash)
    : count_(static_cast<uint32_t>(fields.size())),
      hash_(hash),
      good_as_trailers_(true),
      fields_(std::make_unique<Field[]>(fields.size())) {
  size_t bytes = 0;
  for (const Field& f : fields) bytes += f.name.size() + f.value.size();
  text_ = std::make_unique<char[]>(bytes);
  char* to = text_.get();
  auto keep = [&to](std::string_view from) {
    if (!from.empty()) std::memcpy(to, from.data(), from.size());
    return std::string_view(std::exchange(to, to + from.size()), from.size());
  };
  for (uint32_t i = 0; i < count_; ++i) {
    Field& f = fields_[i] = fields[i];
    uint8_t known = find_known_name(f.name, bytes_hash(f.name));
    f.name = known != 0 ? kKnownNames[known].name : keep(f.name);
    f.value = keep(f.value);
    list_size_ += static_cast<uint32_t>(f.name.size() + f.value.size() + 32);
    tokens_ |= token_bit(f.token);
    odd_names_ |= f.odd_name;
    if (f.token != Token::Other && places_[static_cast<size_t>(f.token)] == 0 && i < UINT8_MAX) {
      places_[static_cast<size_t>(f.token)] = static_cast<uint8_t>(i + 1);
    }
    request_.add(f);
    response_.add(f);
    good_as_trailers_ = good_as_trailers_ && good_in_trailers(f);
  }
  good_as_request_ = request_.complete();
  good_as_response_ = response_.complete();
}

HeaderRunRef HeaderRuns::intern(std::span<const Field> fields) {
  uint32_t hash = 0;
  for (const Field& f : fields) hash = combined_hash(hash, f.hash);
  HeaderRunRef& slot = slots_[hash % kSlots];
  auto same = [](const Field& a, const Field& b) { return a.name == b.name && a.value == b.value; };
  if (!slot || slot->hash() != hash || !std::ranges::equal(slot->fields(), fields, same)) {
    slot = HeaderRunRef(new HeaderRun(fields, hash));
  }
  return slot;
}

}  // namespace weir::http
