// conmon and the OCI runtime as programs: create, start, state, delete of one container.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/container_record.h"

namespace weir::runtime {

struct OciTool {
  std::string program;  // runc or crun
  std::string root;     // its own state folder
  std::string socket_folder;

  // Creates the container under a conmon that outlives us. Returns the pid of its first process, which
  // waits for start(). conmon inherits `lock` and keeps it open for its whole life.
  Result<int> create(const std::string& id, const ContainerPaths& paths, const std::string& log,
                     int lock) const;
  Result<void> start(const std::string& id) const;
  // "created", "running", "stopped"; empty when the runtime does not know the container.
  std::string state(const std::string& id, int* pid) const;
  // Kills what lives and forgets the container. Idempotent.
  Result<void> remove(const std::string& id) const;
};

}  // namespace weir::runtime
