// Addresses of peers and blocks of addresses.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace weir::proxy {

struct IpAddress {
  enum class Family : uint8_t { None, V4, V6 } family = Family::None;
  std::array<uint8_t, 16> bytes{};
  // "10.0.0.1", "2001:db8::1"; Family::None for text that is no address.
  static IpAddress parse(std::string_view text);
};

class Cidr {
 public:
  // "10.0.0.0/8", "2001:db8::/32", or a lone address; nullopt for other text.
  static std::optional<Cidr> parse(std::string_view text);
  bool holds(const IpAddress& address) const;

 private:
  IpAddress network_;
  unsigned bits_ = 0;
};

// False for text that is not an address or a block.
bool address_in_cidr(std::string_view address, std::string_view cidr);

}  // namespace weir::proxy
