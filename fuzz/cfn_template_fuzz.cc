// Any bytes as a template: validation answers, it does not crash, hang or overflow.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cfn/validate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weir::cfn::ValidateOptions options;
  options.require_parameters = false;
  auto result = weir::cfn::validate({reinterpret_cast<const char*>(data), size}, {}, options);
  (void)result;
  return 0;
}
