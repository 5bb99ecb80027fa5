#include "proxy/cidr.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>
#include <string>

namespace weir::proxy {

IpAddress IpAddress::parse(std::string_view text) {
  IpAddress out;
  if (text.find('\0') != std::string_view::npos) return out;  // inet_pton would read no further
  std::string terminated(text);
  if (inet_pton(AF_INET, terminated.c_str(), out.bytes.data()) == 1) {
    out.family = Family::V4;
  } else if (inet_pton(AF_INET6, terminated.c_str(), out.bytes.data()) == 1) {
    out.family = Family::V6;
  }
  return out;
}

std::optional<Cidr> Cidr::parse(std::string_view text) {
  Cidr out;
  size_t slash = text.find('/');
  out.network_ = IpAddress::parse(text.substr(0, slash));
  if (out.network_.family == IpAddress::Family::None) return std::nullopt;
  unsigned most = out.network_.family == IpAddress::Family::V4 ? 32u : 128u;
  out.bits_ = most;
  if (slash == std::string_view::npos) return out;
  std::string_view bits = text.substr(slash + 1);
  auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), out.bits_);
  if (error != std::errc() || end != bits.data() + bits.size() || out.bits_ > most) return std::nullopt;
  return out;
}

bool Cidr::holds(const IpAddress& address) const {
  if (address.family != network_.family) return false;
  if (std::memcmp(address.bytes.data(), network_.bytes.data(), bits_ / 8) != 0) return false;
  if (bits_ % 8 == 0) return true;
  auto mask = static_cast<uint8_t>(0xff << (8 - bits_ % 8));
  return (address.bytes[bits_ / 8] & mask) == (network_.bytes[bits_ / 8] & mask);
}

bool address_in_cidr(std::string_view address, std::string_view cidr) {
  auto block = Cidr::parse(cidr);
  return block && block->holds(IpAddress::parse(address));
}

}  // namespace weir::proxy
