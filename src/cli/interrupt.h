// Ctrl-C as a flag.
#pragma once

namespace weir::cli {

// From now on SIGINT and SIGTERM set a flag instead of ending the program; a third one ends it.
void catch_interrupts();
bool interrupted();
// Forgets an interrupt that was dealt with.
void clear_interrupt();

}  // namespace weir::cli
