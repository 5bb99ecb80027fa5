// Finds the control plane of a state directory, starting it when none answers.
#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "cli/api_client.h"
#include "cli/options.h"

namespace weir::cli {

// Starts `weir serve --auto` in a session of its own when nobody answers, and waits for its socket.
// The error tells the cause (the end of its log, when it ended) and what to do.
Result<ApiClient> ensure_server(const Common& common);
// One that answers already, or the next one of a state directory whose control plane is gone.
Result<ApiClient> existing_server(const Common& common);

std::string server_log_path(const std::string& state_dir);

}  // namespace weir::cli
