// The static table of HPACK (RFC 7541 Appendix A), with token and hash of each entry.
#pragma once

#include <array>
#include <cstdint>

#include "http/header.h"
#include "http/known_names.h"

namespace weir::http::h2 {

inline constexpr uint32_t kStaticCount = 61;

struct StaticEntry {
  Field field;
  uint8_t known_name = 0;
};
extern const std::array<StaticEntry, kStaticCount + 1> kStaticTable;  // [0] is unused

// Known name -> the first static entry with this name; 0 when there is none.
extern const std::array<uint8_t, kKnownNameCount> kStaticIndexOfName;

}  // namespace weir::http::h2
