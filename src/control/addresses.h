// Addresses of subnets. AWS reserves the first four of each subnet (network, router, DNS, future use) and
// the last (VPC user guide, "Subnet CIDR blocks").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/store.h"

namespace weir::control {

struct Cidr {
  uint32_t base = 0;  // host byte order; host bits are zero
  int prefix = 0;
  uint64_t size() const { return uint64_t{1} << (32 - prefix); }
  bool contains(uint32_t address) const { return (address & mask()) == base; }
  bool contains(const Cidr& other) const { return other.prefix >= prefix && contains(other.base); }
  bool overlaps(const Cidr& other) const { return contains(other) || other.contains(*this); }
  uint32_t mask() const { return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix); }
};

// "10.0.0.0/16". Host bits that are set are an error.
Result<Cidr> parse_cidr(std::string_view text);
Result<uint32_t> parse_ipv4(std::string_view text);
std::string format_ipv4(uint32_t address);

// A free address of the subnet; moves weir.next_host of its document on, so that an address that was
// given back is not given out again at once. Call inside the transaction that writes the
// ec2.network-interface document. Error when the subnet is unknown or full.
Result<std::string> allocate_address(store::Store& store, const std::string& subnet_id);
// AvailableIpAddressCount of the subnet.
int64_t available_addresses(store::Store& store, const std::string& subnet_id);

}  // namespace weir::control
