// Copies of some ten bytes, which most texts are: inline, without the call and the dispatch of memcpy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weir {

// As memcpy; the pointers may be null when size is 0.
[[gnu::always_inline]] inline void copy_short(void* to, const void* from, size_t size) {
  auto* const t = static_cast<char*>(to);
  const auto* const f = static_cast<const char*>(from);
  // Two words that overlap cover every size between one and two of them.
  auto ends = [t, f, size]<class Word>(Word) {
    Word first, last;
    std::memcpy(&first, f, sizeof(Word));
    std::memcpy(&last, f + size - sizeof(Word), sizeof(Word));
    std::memcpy(t, &first, sizeof(Word));
    std::memcpy(t + size - sizeof(Word), &last, sizeof(Word));
  };
  struct Two {
    uint64_t words[2];
  };
  struct Four {
    Two halves[2];
  };
  if (size > 64) {
    std::memcpy(t, f, size);
  } else if (size > 32) {
    ends(Four{});
  } else if (size > 16) {
    ends(Two{});
  } else if (size >= 8) {
    ends(uint64_t{});
  } else if (size >= 4) {
    ends(uint32_t{});
  } else {
    for (size_t i = 0; i < size; ++i) t[i] = f[i];
  }
}

}  // namespace weir
