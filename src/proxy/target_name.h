// How targets are named across workers and threads.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace weir::proxy {

struct TargetName {
  std::string group_arn;
  std::string address;
  uint16_t port = 0;
  friend auto operator<=>(const TargetName&, const TargetName&) = default;
};

// "GROUP|ADDRESS|PORT"
std::string target_key(const std::string& group_arn, const std::string& address, uint16_t port);

}  // namespace weir::proxy
