#include "api/ec2/cidr.h"

#include <arpa/inet.h>

#include <charconv>

#include <fmt/format.h>

namespace weir::api {
namespace {

uint32_t mask_of(int prefix) { return prefix == 0 ? 0 : ~uint32_t{0} << (32 - prefix); }

}  // namespace

bool Cidr::contains(const Cidr& inner) const {
  return inner.prefix >= prefix && (inner.base & mask_of(prefix)) == base;
}

bool Cidr::contains_address(uint32_t address) const { return (address & mask_of(prefix)) == base; }

std::optional<uint32_t> parse_ipv4(std::string_view text) {
  in_addr address{};
  if (inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) return std::nullopt;
  return ntohl(address.s_addr);
}

std::optional<Cidr> parse_cidr(std::string_view text) {
  size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  auto address = parse_ipv4(text.substr(0, slash));
  int prefix = -1;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data() + slash + 1, end, prefix);
  if (!address || error != std::errc() || stop != end || prefix < 0 || prefix > 32) return std::nullopt;
  return Cidr{*address & mask_of(prefix), prefix};
}

std::string format_cidr(const Cidr& cidr) {
  return fmt::format("{}.{}.{}.{}/{}", cidr.base >> 24, (cidr.base >> 16) & 255, (cidr.base >> 8) & 255,
                     cidr.base & 255, cidr.prefix);
}

}  // namespace weir::api
