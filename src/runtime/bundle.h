// The OCI bundle of a container: its config.json (opencontainers/runtime-spec 1.0.2) as text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/container_user.h"
#include "runtime/driver.h"
#include "runtime/image_store.h"

namespace weir::runtime {

struct BundleInput {
  const ContainerSpec* spec = nullptr;
  const Image* image = nullptr;
  ContainerUser user;
  std::string root;   // folder of the merged root file system
  std::string files;  // folder that holds hosts, hostname, resolv.conf
  std::string hostname;
  std::string cgroup_path;        // absolute, as seen from each hierarchy's root
  std::string init_program;       // static init on the host, when spec->init_process
  int64_t nofile_hard_limit = 0;  // ours: a container cannot have more
  bool limit_swap = false;
};

// Entrypoint and command as Docker merges them: an entry point of the task's own discards the image's
// command. Fails when nothing is left to run.
Result<std::vector<std::string>> merged_command(const ContainerSpec& spec, const Image& image);
// NAME=VALUE; the task's win over the image's.
std::vector<std::string> merged_environment(const ContainerSpec& spec, const Image& image,
                                            const ContainerUser& user, const std::string& hostname);

Result<std::string> bundle_config(const BundleInput& input);

}  // namespace weir::runtime
