// Runs the stack reconciler on the loop: wakes it for changed stacks, and again when it asks to be called.
#pragma once

#include "cfn/stack_engine.h"
#include "control/work_queue.h"
#include "net/loop.h"
#include "store/store.h"

namespace weir::cli {

class StackPump {
 public:
  StackPump(net::Loop& loop, store::Store& store, cfn::StackEngine& engine);
  // Takes up what was under way when the last control plane ended.
  void start();

 private:
  void run();

  net::Loop& loop_;
  cfn::StackEngine& engine_;
  control::WorkQueue queue_;
  net::Timer timer_;
};

}  // namespace weir::cli
