// Which OCI runtime works on this machine: found out by running a container with it, not by its name.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace weir::runtime {

struct RuntimeTrial {
  std::string program;  // absolute path
  std::string problem;  // empty: it works
};

// runc, then crun, until one works. `scratch` is a folder for the trial's bundle; nothing stays in it.
std::vector<RuntimeTrial> try_oci_runtimes(const std::string& scratch);

// The program that works. Remembers its answer under `scratch` until the program or the boot changes.
Result<std::string> choose_oci_runtime(const std::string& scratch);

// The static init of Debian's package tini.
inline constexpr const char* kInitProgram = "/usr/bin/tini-static";

}  // namespace weir::runtime
