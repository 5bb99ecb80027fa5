// What /proc says about processes that are not our children.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/unique_fd.h"

namespace weir::runtime {

// Start time of a process in clock ticks since boot; 0 when it is gone or a zombie. Together with the
// boot id it names a process for ever.
uint64_t process_start_time(int pid);
// A pidfd of exactly that process; invalid when it is gone.
UniqueFd open_process(int pid, uint64_t start_time);
// Command line words joined by NUL; empty when gone or a zombie.
std::string process_command_line(int pid);
// Changes with every boot of the machine.
std::string boot_id();
// Kills (SIGKILL) every process whose command line has `word` as one whole word and whose program's
// name is one of conmon, runc, crun. Returns at once, with their number.
int kill_programs_with_word(const std::string& word);

}  // namespace weir::runtime
