#pragma once

#include <string>

namespace weir::chat {

// The name this server puts into every answer: $TASK_ID, else the task's id from the ECS task metadata
// endpoint ($ECS_CONTAINER_METADATA_URI_V4, numeric IPv4 address, asked once, at most a second), else
// $HOSTNAME, else the host name.
std::string task_identity();

}  // namespace weir::chat
