// A container's control groups, on cgroup v1, v2 or both: reading the OOM counter, freezing out
// survivors, removing. The OCI runtime makes them, at /weir/INSTANCE/ID in every hierarchy.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/files.h"

namespace weir::runtime {

enum class CgroupMode { None, V1, Hybrid, V2 };

CgroupMode cgroup_mode();
const char* cgroup_mode_name(CgroupMode mode);

// Directories of the group `path` ("/weir/x/y") that exist, over all hierarchies.
std::vector<std::string> cgroup_folders(const std::string& path);
// How many processes of the group the kernel killed for lack of memory; 0 when the group is gone.
long oom_kills(const std::string& path);
// Kills every process in the group; returns at once.
void kill_cgroup(const std::string& path);
// Removes the group and those below it, in every hierarchy; waits for dying processes, at most a second.
Result<void> remove_cgroup(const std::string& path);
// Removes /weir/PARENT (and its group of supervisors) and /weir where they are empty, unless somebody is
// just making a group below them; never an error. An empty `parent`: /weir alone.
void remove_empty_parents(const std::string& parent);
// Held while groups below /weir are made, by any number of processes.
Result<FileLock> lock_parent_groups();
// Beside the containers of an instance: the group their supervisors live in.
inline constexpr const char* kSupervisors = "/conmon";
// Moves a process to the group (made if needed) of the memory and systemd hierarchies, or of v2: so
// that it does not end with the service that started it. Best effort.
void move_to_cgroup(const std::string& path, int pid);
// True when the kernel accounts swap per group, so that a memory limit can include it.
bool swap_is_accounted();

}  // namespace weir::runtime
