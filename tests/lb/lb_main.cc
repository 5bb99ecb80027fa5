// The data plane alone, as the end-to-end tests start it: `weir lb` without the rest of weir. The word "lb" may stand in
// front of the options, so that bench/compare can measure it in place of weir.
#include <string_view>

#include "proxy/lb_main.h"

int main(int argc, char** argv) {
  bool named = argc > 1 && std::string_view(argv[1]) == "lb";
  return weir::proxy::lb_main(argc - named, argv + named);
}
