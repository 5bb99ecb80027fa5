#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace weir::bench {

// CPU time all threads of the processes have used so far, in nanoseconds, from /proc/PID/task/*/schedstat.
// Processes that are gone count nothing.
uint64_t cpu_nanos(const std::vector<pid_t>& pids);

}  // namespace weir::bench
