// Test only: what operator new was asked for on this thread. The test binary's operators count (see
// hpack_allocation_test.cc).
#pragma once

#include <cstdint>

namespace weir::http::h2 {

uint64_t allocations_so_far();

}  // namespace weir::http::h2
