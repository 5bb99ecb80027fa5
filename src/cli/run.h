// The command line program. docs/cli.md describes commands and exit codes.
#pragma once

namespace weir::cli {

// Exit codes.
inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;      // the operation failed; the cause and what to do next were printed
inline constexpr int kUsage = 2;       // wrong arguments, or a template with mistakes: nothing was changed
inline constexpr int kNoServer = 3;    // the control plane does not answer or could not be started
inline constexpr int kInterrupted = 130;

int run(int argc, char** argv);

}  // namespace weir::cli
