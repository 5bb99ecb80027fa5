// The data plane alone, as the end-to-end tests start it: `weir lb` without the rest of weir.
#include "proxy/lb_main.h"

int main(int argc, char** argv) { return weir::proxy::lb_main(argc, argv); }
