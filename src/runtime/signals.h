// Signal names as images and task definitions write them.
#pragma once

#include <string>

#include "base/result.h"

namespace weir::runtime {

// "SIGTERM", "TERM", "15", "SIGRTMIN+3" -> number.
Result<int> signal_number(const std::string& name);

}  // namespace weir::runtime
