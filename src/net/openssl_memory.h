// Memory for OpenSSL: blocks of one size class stand together in regions of their own, so that what a handshake needs
// for a moment leaves no holes between what a connection keeps; threads keep some free blocks at hand, so that steady
// state asks neither the kernel nor a lock for anything. Any thread may free what another allocated.
#pragma once

#include <cstddef>

namespace weir::net {

// Call first in main(), before anything uses OpenSSL.
void use_pooled_openssl_memory();

// What OpenSSL calls. Blocks are aligned to 16 bytes; null when memory is short.
void* pooled_allocate(size_t bytes);
void* pooled_reallocate(void* block, size_t bytes);
void pooled_free(void* block);
// Address space held now, in use or not, by all threads.
size_t pooled_bytes_mapped();

}  // namespace weir::net
