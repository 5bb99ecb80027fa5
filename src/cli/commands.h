// The commands; each answers its exit code (cli/run.h). They may throw api::ApiError.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cli/api_client.h"
#include "cli/options.h"

namespace weir::cli {

int up(const Options& options);
int down(const Options& options);
int status(const Options& options);
int logs(const Options& options);
int top(const Options& options);
int image(const Options& options);
int ca(const Options& options);
int serve(const Options& options);
int doctor(const Options& options);

// Deletes the stack, showing its events; true when it is gone.
bool delete_stack(const ApiClient& client, const std::string& stack_name, int timeout_seconds);
// Waits for what is being taken down, then ends a control plane that was started for it. Nothing when stacks are left.
void finish_server(const ApiClient& client, bool also_when_not_auto);
// The text of `weir status`.
std::string render_status(const nlohmann::json& status);
// The lines that tell how to reach a stack's listeners; "" when it has none.
std::string render_access(const nlohmann::json& stack, const std::string& ca_path);

}  // namespace weir::cli
