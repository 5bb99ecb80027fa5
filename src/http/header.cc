#include "http/header.h"

#include <algorithm>

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

void FieldList::assign(std::span<const Field> fields) {
  clear();
  insert_front(fields);
}

void FieldList::insert_front(std::span<const Field> fields) {
  if (size_ + fields.size() > capacity_) grow(size_ + fields.size());
  std::copy_backward(begin(), end(), end() + fields.size());
  std::copy(fields.begin(), fields.end(), begin());
  size_ += fields.size();
}

void FieldList::grow(size_t size_min) {
  size_t capacity = std::max<size_t>({16, 2 * capacity_, size_min});
  auto fields = std::make_unique<Field[]>(capacity);
  std::copy(begin(), end(), fields.get());
  fields_ = std::move(fields);
  capacity_ = capacity;
}

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
