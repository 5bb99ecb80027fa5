#include "runtime/ipv4.h"

#include <arpa/inet.h>

#include <charconv>

namespace weir::runtime {

Result<uint32_t> parse_ipv4(const std::string& text) {
  in_addr address;
  if (inet_pton(AF_INET, text.c_str(), &address) != 1) return fail("\"" + text + "\" is not an IPv4 address");
  return address.s_addr;
}

Result<Ipv4Range> parse_ipv4_range(const std::string& text) {
  size_t slash = text.find('/');
  std::string digits = slash == std::string::npos ? "" : text.substr(slash + 1);
  int length = -1;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || length < 0 ||
      length > 32) {
    return fail("\"" + text + "\" is not an IPv4 range (ADDRESS/PREFIX)");
  }
  WEIR_TRY_ASSIGN(uint32_t address, parse_ipv4(text.substr(0, slash)));
  uint32_t mask = length == 0 ? 0 : htonl(~uint32_t{0} << (32 - length));
  return Ipv4Range{address & mask, length};
}

}  // namespace weir::runtime
