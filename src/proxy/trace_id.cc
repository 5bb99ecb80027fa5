#include "proxy/trace_id.h"

#include <cstring>

namespace weir::proxy {

namespace {

// Eight hexadecimal digits, all at once: one byte of a word for each.
char* put_hex(char* out, uint32_t value) {
  uint64_t v = value;
  v = (v | v << 16) & 0x0000ffff0000ffff;
  v = (v | v << 8) & 0x00ff00ff00ff00ff;
  v = (v | v << 4) & 0x0f0f0f0f0f0f0f0f;
  uint64_t letters = ((v + 0x0606060606060606) >> 4) & 0x0101010101010101;  // where a digit is above nine
  v = __builtin_bswap64(v + 0x3030303030303030 + letters * ('a' - '0' - 10));
  std::memcpy(out, &v, sizeof v);
  return out + sizeof v;
}

}  // namespace

char* TraceId::write(char* out) const {
  *out++ = '1';
  *out++ = '-';
  out = put_hex(out, seconds);
  *out++ = '-';
  for (uint32_t part : random) out = put_hex(out, part);
  return out;
}

}  // namespace weir::proxy
