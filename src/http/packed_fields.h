// Header fields packed into a buffer, for what must wait: trailers behind a closed window, a request that
// may have to be sent again.
#pragma once

#include <span>
#include <vector>

#include "base/buffer.h"
#include "http/header.h"

namespace weir::http {

size_t packed_size(std::span<const Field> fields);
// Writes packed_size() bytes.
void write_packed(std::span<const Field> fields, uint8_t* to);
// Appends to a Buffer or an InlineBuffer.
template <class Bytes>
void pack_fields(std::span<const Field> fields, Bytes& out) {
  size_t size = packed_size(fields);
  write_packed(fields, out.reserve(size));
  out.commit(size);
}
// Appends views into `packed` to `out`.
void unpack_fields(std::span<const uint8_t> packed, std::vector<Field>& out);

}  // namespace weir::http
