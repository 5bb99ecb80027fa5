#include "control/addresses.h"

#include <arpa/inet.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "control/documents.h"

namespace weir::control {

namespace {
constexpr uint64_t kReservedFirst = 4;
constexpr uint64_t kReservedLast = 1;

std::set<uint32_t> used_addresses(store::Store& store, const std::string& subnet_id) {
  std::set<uint32_t> used;
  for (const auto& [id, eni] : load_where(store, kind::kNetworkInterface, "SubnetId", subnet_id)) {
    if (auto address = parse_ipv4(text(eni, "PrivateIpAddress"))) used.insert(*address);
  }
  return used;
}
}  // namespace

Result<uint32_t> parse_ipv4(std::string_view text) {
  in_addr address{};
  if (inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) {
    return fail("'" + std::string(text) + "' is not an IPv4 address");
  }
  return ntohl(address.s_addr);
}

std::string format_ipv4(uint32_t address) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) {
    out += std::to_string((address >> shift) & 0xff);
    if (shift != 0) out += '.';
  }
  return out;
}

Result<Cidr> parse_cidr(std::string_view text) {
  size_t slash = text.find('/');
  auto bad = [&] { return fail("'" + std::string(text) + "' is not a valid IPv4 CIDR block"); };
  if (slash == std::string_view::npos) return bad();
  auto base = parse_ipv4(text.substr(0, slash));
  std::string_view digits = text.substr(slash + 1);
  int prefix = -1;
  auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  if (!base || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) return bad();
  if (prefix < 0 || prefix > 32) return bad();
  Cidr cidr{*base, prefix};
  if ((cidr.base & cidr.mask()) != cidr.base) return bad();
  return cidr;
}

Result<std::string> allocate_address(store::Store& store, const std::string& subnet_id) {
  auto subnet = load(store, kind::kSubnet, subnet_id);
  if (!subnet) return fail("The subnet ID '" + subnet_id + "' does not exist");
  WEIR_TRY_ASSIGN(Cidr cidr, parse_cidr(text(*subnet, "CidrBlock")));
  std::set<uint32_t> used = used_addresses(store, subnet_id);
  if (cidr.size() > kReservedFirst + kReservedLast) {
    uint64_t first = kReservedFirst;
    uint64_t count = cidr.size() - kReservedFirst - kReservedLast;
    uint64_t next = static_cast<uint64_t>(integer(weir_of(*subnet), "next_host", static_cast<int64_t>(first)));
    if (next < first || next >= first + count) next = first;
    for (uint64_t tried = 0; tried < count; ++tried) {
      uint64_t host = first + (next - first + tried) % count;
      uint32_t address = cidr.base + static_cast<uint32_t>(host);
      if (used.contains(address)) continue;
      (*subnet)["weir"]["next_host"] = host + 1;
      WEIR_TRY(save(store, kind::kSubnet, subnet_id, *subnet));
      return format_ipv4(address);
    }
  }
  return fail("The subnet '" + subnet_id + "' has no free address left");
}

int64_t available_addresses(store::Store& store, const std::string& subnet_id) {
  auto subnet = load(store, kind::kSubnet, subnet_id);
  if (!subnet) return 0;
  auto cidr = parse_cidr(text(*subnet, "CidrBlock"));
  if (!cidr || cidr->size() <= kReservedFirst + kReservedLast) return 0;
  auto usable = static_cast<int64_t>(cidr->size() - kReservedFirst - kReservedLast);
  return usable - static_cast<int64_t>(used_addresses(store, subnet_id).size());
}

}  // namespace weir::control
