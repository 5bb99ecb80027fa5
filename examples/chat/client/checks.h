#pragma once

#include "client/channel.h"

namespace weir::chat {

// All four call types with metadata (text and binary), trailers, deadline, cancel, error status, empty
// and 1 MiB messages; a line per check, then one line of JSON. 0 when every check passed, else 1.
int run_all(const Endpoint& endpoint);

}  // namespace weir::chat
