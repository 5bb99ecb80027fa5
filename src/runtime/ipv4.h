// IPv4 addresses and ranges in text form, checked.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace weir::runtime {

struct Ipv4Range {
  uint32_t network = 0;  // network byte order, host bits cleared
  int prefix_length = 0;
};

// Network byte order.
Result<uint32_t> parse_ipv4(const std::string& text);
// "10.0.0.0/16"; host bits are cleared.
Result<Ipv4Range> parse_ipv4_range(const std::string& text);

}  // namespace weir::runtime
