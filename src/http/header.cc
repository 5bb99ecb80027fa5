#include "http/header.h"

#include "http/known_names.h"

namespace weir::http {

namespace {

constexpr size_t kSlots = 256;

// Open addressing over the known names; 0 is an empty slot.
constexpr auto build_index() {
  std::array<uint8_t, kSlots> slots{};
  for (size_t id = 1; id < kKnownNameCount; ++id) {
    size_t slot = kKnownNames[id].hash % kSlots;
    while (slots[slot] != 0) slot = (slot + 1) % kSlots;
    slots[slot] = static_cast<uint8_t>(id);
  }
  return slots;
}

constexpr auto kIndex = build_index();

}  // namespace

uint8_t find_known_name(std::string_view name, uint32_t hash) {
  for (size_t slot = hash % kSlots; kIndex[slot] != 0; slot = (slot + 1) % kSlots) {
    const KnownName& known = kKnownNames[kIndex[slot]];
    if (known.hash == hash && known.name == name) return kIndex[slot];
  }
  return 0;
}

Token token_of(std::string_view name) { return token_of_known_name(find_known_name(name, bytes_hash(name))); }

uint32_t field_hash(std::string_view name, std::string_view value) {
  return combined_hash(bytes_hash(name), bytes_hash(value));
}

}  // namespace weir::http
