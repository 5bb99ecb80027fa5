// Who a container's process runs as: "name", "uid", "name:group", "uid:gid", resolved in the image's
// own /etc/passwd and /etc/group, as Docker does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace weir::runtime {

struct ContainerUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> additional_gids;
  std::string home = "/";
};

// `rootfs` is untrusted: links in it are followed inside it only.
Result<ContainerUser> resolve_user(const std::string& rootfs, const std::string& user);

}  // namespace weir::runtime
