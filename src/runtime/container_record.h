// Where a container's pieces lie, and the note about it that survives us.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace weir::runtime {

// state_dir/containers/ID: what may be large (writable layer). /run/weir/INSTANCE: what must be writable
// when the disk is full (exit code, pid files) and may go with a reboot.
struct ContainerPaths {
  std::string folder;  // bundle: config.json, container.json, upper, work, rootfs, etc
  std::string rootfs;  // where the overlay is mounted
  std::string record;
  std::string run_folder;
  std::string exit_folder;
  std::string exit_file;  // decimal exit code, written by conmon
  std::string init_pid_file;
  std::string conmon_pid_file;
  std::string persist_folder;
  std::string lock;    // held (flock) by who makes the container and then by its conmon
  std::string cgroup;  // as seen from a hierarchy's root
};

struct ContainerRecord {
  bool started = false;  // false: created, `start` of the OCI runtime not yet done
  std::string boot_id;
  int pid = 0;              // the container's first process
  uint64_t start_time = 0;  // of that process
  std::string image_id;
  std::string stop_signal;
};

// Error code ENOENT when there is none; another code or 0 when it cannot be read.
Result<ContainerRecord> read_record(const std::string& path);
Result<void> write_record(const std::string& path, const ContainerRecord& record);

}  // namespace weir::runtime
