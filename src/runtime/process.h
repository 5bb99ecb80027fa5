// Runs one external program to its end: argument vector (no shell), bounded output, a time limit.
//
// The child inherits nothing but the three standard streams and `pass_fds`: every other descriptor is
// closed, signal mask and dispositions are the defaults, and it gets an own process group, which is
// killed when the time is over. It runs in the namespaces of the calling thread.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace weir::runtime {

struct ProcessSpec {
  std::vector<std::string> argv;  // argv[0] is looked up in PATH and the sbin folders
  std::string input;              // standard input; empty: /dev/null
  std::vector<std::pair<std::string, std::string>> environment;  // beside PATH, HOME and LC_ALL=C
  int timeout_ms = 10'000;
  std::vector<int> pass_fds;  // the child gets these as numbers 3, 4, …
  // Standard output and error go to /dev/null: for programs that leave a daemon behind.
  bool discard_output = false;
};

struct ProcessResult {
  int exit_code = 0;  // 128 + signal when killed
  std::string out;    // the first kOutputLimit bytes of each
  std::string err;
};

inline constexpr size_t kOutputLimit = 256 * 1024;

// Fails when the program is missing, cannot be started, or runs longer than its time.
Result<ProcessResult> run_process(const ProcessSpec& spec);

// run_process(), where an exit code other than 0 is an Error too: "PROGRAM ARG: last line of stderr".
Result<std::string> run_checked(const ProcessSpec& spec);

// Absolute path of an executable on PATH or in the sbin folders; empty when there is none.
std::string find_program(const std::string& name);

// The last non-empty line of a program's error output, without colours and time stamps of logrus.
std::string error_line(const std::string& text);

}  // namespace weir::runtime
