#include "cli/stack_pump.h"

#include "base/log.h"

namespace weir::cli {

StackPump::StackPump(net::Loop& loop, store::Store& store, cfn::StackEngine& engine)
    : loop_(loop),
      engine_(engine),
      queue_("stack", [this](const std::string& id) { return engine_.step(id); }),
      timer_([this] { run(); }) {
  // The change is not worked on inside the commit that tells of it.
  store.watch([this](std::string_view kind, std::string_view id) {
    if (kind != "cfn.stack") return;
    queue_.wake(std::string(id));
    loop_.arm(timer_, loop_.now());
  });
}

void StackPump::start() {
  for (const auto& id : engine_.unfinished()) {
    log_info("stack continues id=" + id);
    queue_.wake(id);
  }
  loop_.arm(timer_, loop_.now());
}

void StackPump::run() {
  auto next = queue_.run(loop_.now());
  if (next) loop_.arm(timer_, *next);
}

}  // namespace weir::cli
