// `weir lb`: the data plane's own process.
#pragma once

namespace weir::proxy {

// argv[0] is the program, then the options (`weir lb --help` lists them). Returns the exit code.
int lb_main(int argc, char** argv);

}  // namespace weir::proxy
