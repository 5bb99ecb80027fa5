#include "base/result.h"

#include <cstring>

namespace weir {

std::unexpected<Error> fail_errno(std::string what, int code) {
  char buffer[128];
  return std::unexpected(Error{code, std::move(what) + ": " + strerror_r(code, buffer, sizeof buffer)});
}

}  // namespace weir
