#include "cfn/values.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstdint>

namespace weir::cfn {

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> out;
  for (size_t start = 0; start <= text.size();) {
    size_t end = text.find(',', start);
    if (end == std::string_view::npos) end = text.size();
    std::string_view member = text.substr(start, end - start);
    size_t first = member.find_first_not_of(" \t");
    size_t last = member.find_last_not_of(" \t");
    out.emplace_back(first == std::string_view::npos ? std::string_view()
                                                     : member.substr(first, last - first + 1));
    start = end + 1;
  }
  return out;
}

std::string base64(std::string_view bytes) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) {
      group = (group << 8) | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += i + k <= bytes.size() ? kAlphabet[(group >> (18 - 6 * k)) & 63] : '=';
    }
  }
  return out;
}

Result<std::vector<std::string>> cidr_blocks(std::string_view block, int64_t count, int64_t host_bits) {
  constexpr int64_t kBlocksMax = 256;
  size_t slash = block.find('/');
  in_addr address{};
  int prefix = -1;
  if (slash != std::string_view::npos) {
    std::string_view bits = block.substr(slash + 1);
    auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), prefix);
    if (error != std::errc() || end != bits.data() + bits.size()) prefix = -1;
  }
  if (prefix < 0 || prefix > 32 ||
      inet_pton(AF_INET, std::string(block.substr(0, slash)).c_str(), &address) != 1) {
    return fail("\"" + std::string(block) + "\" is no IPv4 CIDR block");
  }
  if (count < 1 || count > kBlocksMax) return fail("the count must be from 1 to 256");
  if (host_bits < 1 || host_bits > 32) return fail("the number of host bits must be from 1 to 32");
  uint64_t size = uint64_t{1} << host_bits;
  uint64_t room = uint64_t{1} << (32 - prefix);
  if (size * static_cast<uint64_t>(count) > room) {
    return fail(std::string(block) + " does not hold " + std::to_string(count) + " blocks of " +
                std::to_string(host_bits) + " bits");
  }
  uint64_t base = ntohl(address.s_addr) & ~(room - 1);
  std::vector<std::string> out;
  for (int64_t i = 0; i < count; ++i) {
    in_addr a{htonl(static_cast<uint32_t>(base + size * static_cast<uint64_t>(i)))};
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &a, text, sizeof text);
    out.push_back(std::string(text) + "/" + std::to_string(32 - host_bits));
  }
  return out;
}

}  // namespace weir::cfn
