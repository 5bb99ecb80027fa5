#include <fmt/format.h>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/plane.h"
#include "cli/run.h"

namespace weir::cli {

int serve(const Options& options) {
  auto plane = Plane::open(options.common, options.serve);
  if (!plane) {
    note(fmt::format("weir serve: {}\n", plane.error().message));
    return kFailed;
  }
  (*plane)->run();
  log_info("weir serve ends");
  return kOk;
}

}  // namespace weir::cli
