#include "proxy/target_name.h"

namespace weir::proxy {

std::string target_key(const std::string& group_arn, const std::string& address, uint16_t port) {
  return group_arn + "|" + address + "|" + std::to_string(port);
}

}  // namespace weir::proxy
