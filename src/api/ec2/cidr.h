// IPv4 ranges as EC2 writes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir::api {

struct Cidr {
  uint32_t base = 0;  // host order, host bits zero
  int prefix = 0;
  bool contains(const Cidr& inner) const;
  bool overlaps(const Cidr& other) const { return contains(other) || other.contains(*this); }
  bool contains_address(uint32_t address) const;
};

// "10.0.0.0/16"; host bits are cleared. nullopt: not such a range.
std::optional<Cidr> parse_cidr(std::string_view text);
std::optional<uint32_t> parse_ipv4(std::string_view text);
std::string format_cidr(const Cidr& cidr);

}  // namespace weir::api
