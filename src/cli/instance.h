// The state directory and what is derived from it.
#pragma once

#include <string>

namespace weir::cli {

// Creates the directory (mode 0755) when missing and answers its real path, so that one directory has one
// identity however it is spelled. When it cannot be made, the absolute path: the first use reports the cause.
std::string prepared_state_dir(const std::string& state_dir);
// Six hexadecimal digits of the path: prefix of the names of namespaces and cgroups.
std::string instance_id(const std::string& state_dir);

}  // namespace weir::cli
