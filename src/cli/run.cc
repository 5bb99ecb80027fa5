#include "cli/run.h"

#include <signal.h>

#include <fmt/format.h>

#include "api/dispatcher.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/version.h"
#include "proxy/lb_main.h"

namespace weir::cli {
namespace {

int dispatch(const Options& options, int argc, char** argv) {
  switch (options.command) {
    case Options::Command::Up: return up(options);
    case Options::Command::Down: return down(options);
    case Options::Command::Status: return status(options);
    case Options::Command::Logs: return logs(options);
    case Options::Command::Top: return top(options);
    case Options::Command::Image: return image(options);
    case Options::Command::Ca: return ca(options);
    case Options::Command::Serve: return serve(options);
    case Options::Command::Doctor: return doctor(options);
    case Options::Command::Lb: return proxy::lb_main(argc - 1, argv + 1);
    case Options::Command::Version: print(fmt::format("weir {}\n", kVersion)); return kOk;
    case Options::Command::Help: print(options.help); return kOk;
  }
  return kUsage;
}

}  // namespace

int run(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  auto options = parse_options(argc, argv);
  if (!options) {
    note(options.error().message + "\n");
    return kUsage;
  }
  try {
    return dispatch(*options, argc, argv);
  } catch (const api::ApiError& error) {
    note(fmt::format("weir: {}{}\n", error.code == "NoServer" ? "" : error.code + ": ", error.message));
    return error.code == "NoServer" ? kNoServer : kFailed;
  } catch (const std::exception& error) {
    note(fmt::format("weir: {}\n", error.what()));
    return kFailed;
  }
}

}  // namespace weir::cli
