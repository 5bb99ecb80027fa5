// Bodies that both ends can check; see interop.proto.
#pragma once

#include <string>

namespace weir::interop {

inline std::string body_of(size_t size) {
  std::string body(size, '\0');
  for (size_t i = 0; i < size; ++i) body[i] = static_cast<char>(i * 7 + size);
  return body;
}

}  // namespace weir::interop
