#include "runtime/proc.h"

#include <signal.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>

#include <cstdlib>

#include "runtime/files.h"

namespace weir::runtime {
namespace {

std::string proc_file(int pid, const char* name) {
  return read_file("/proc/" + std::to_string(pid) + "/" + name).value_or("");
}

}  // namespace

uint64_t process_start_time(int pid) {
  if (pid <= 0) return 0;
  std::string stat = proc_file(pid, "stat");
  size_t at = stat.rfind(')');  // the name before it may hold anything
  if (at == std::string::npos || at + 2 >= stat.size()) return 0;
  char state = stat[at + 2];
  if (state == 'Z' || state == 'X') return 0;
  // proc(5): the state is field 3, the start time field 22.
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  return at == std::string::npos ? 0 : std::strtoull(stat.c_str() + at, nullptr, 10);
}

UniqueFd open_process(int pid, uint64_t start_time) {
  if (pid <= 0 || start_time == 0) return UniqueFd();
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  // Looked up after the descriptor is there: from now on it cannot become another process.
  if (fd.valid() && process_start_time(pid) != start_time) fd.reset();
  return fd;
}

std::string process_command_line(int pid) { return pid > 0 ? proc_file(pid, "cmdline") : ""; }

std::string boot_id() {
  std::string id = read_file("/proc/sys/kernel/random/boot_id").value_or("");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

int kill_programs_with_word(const std::string& word) {
  const std::string needle = std::string(1, '\0') + word + std::string(1, '\0');
  int killed = 0;
  for (const std::string& name : list_folder("/proc")) {
    int pid = std::atoi(name.c_str());
    if (pid <= 1) continue;
    UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    std::string line = process_command_line(pid);
    if (!fd.valid() || line.find(needle) == std::string::npos) continue;
    std::string program = line.substr(0, line.find('\0'));
    program = program.substr(program.rfind('/') + 1);  // npos + 1 is 0
    if (program == "conmon" || program == "runc" || program == "crun") {
      ::syscall(SYS_pidfd_send_signal, fd.get(), SIGKILL, nullptr, 0);
      ++killed;
    }
  }
  return killed;
}

}  // namespace weir::runtime
