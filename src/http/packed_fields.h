// Header fields packed into a Buffer, for what must wait: trailers behind a closed window, a request that
// may have to be sent again.
#pragma once

#include <span>
#include <vector>

#include "base/buffer.h"
#include "http/header.h"

namespace weir::http {

void pack_fields(std::span<const Field> fields, Buffer& out);
// Appends views into `packed` to `out`.
void unpack_fields(std::span<const uint8_t> packed, std::vector<Field>& out);

}  // namespace weir::http
