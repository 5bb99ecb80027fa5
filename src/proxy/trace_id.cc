#include "proxy/trace_id.h"

#include <algorithm>

namespace weir::proxy {

char* TraceId::write(char* out) const {
  *out++ = '1';
  *out++ = '-';
  out = put_hex(out, seconds);
  *out++ = '-';
  for (uint32_t part : random) out = put_hex(out, part);
  return out;
}

void TraceIds::begin_second(uint32_t unix_seconds) {
  uint64_t first = random_.next();
  latest_ = {unix_seconds, {static_cast<uint32_t>(first), static_cast<uint32_t>(first >> 32),
                            static_cast<uint32_t>(random_.next())}};
  char text[TraceId::kTextBytes];
  latest_.write(text);
  char* end = std::copy(kTraceRoot.begin(), kTraceRoot.end(), prefix_);
  std::copy_n(text, sizeof text - 8, end);
}

}  // namespace weir::proxy
