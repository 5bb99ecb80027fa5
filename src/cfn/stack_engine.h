// The stack reconciler: brings a stack's resources to what its status says, one bounded step at a time.
//
//   CREATE_IN_PROGRESS ──────────────▶ CREATE_COMPLETE
//     └ failure ▶ ROLLBACK_IN_PROGRESS ▶ ROLLBACK_COMPLETE | ROLLBACK_FAILED   (or CREATE_FAILED,
//     DELETE_IN_PROGRESS)
//   UPDATE_IN_PROGRESS ▶ UPDATE_COMPLETE_CLEANUP_IN_PROGRESS ▶ UPDATE_COMPLETE
//     └ failure ▶ UPDATE_ROLLBACK_IN_PROGRESS ▶ UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS
//                  ▶ UPDATE_ROLLBACK_COMPLETE | UPDATE_ROLLBACK_FAILED         (or UPDATE_FAILED)
//   DELETE_IN_PROGRESS ▶ DELETE_COMPLETE | DELETE_FAILED
//
// All state is in the store (cfn.stack, cfn.resource, cfn.event; docs/store-documents.md). What is about to
// be made is recorded before the call that makes it, so that a fresh engine over the same store goes on
// where a killed one stopped, and finds by name and tags what a call without a recorded answer has made.
//
// Use: one control::WorkQueue whose step is step(); wake it with a StackId after CreateStack, UpdateStack and
// DeleteStack (a store watch on kind cfn.stack does), and at start with everything unfinished() names. While
// something is under way step() asks to be called again, so nothing else needs to wake it.
// Thread: the control thread. step() calls the dispatcher and must not run inside a store transaction.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/dispatcher.h"
#include "base/clock.h"
#include "base/random.h"
#include "cfn/evaluator.h"
#include "control/work_queue.h"
#include "store/store.h"

namespace weir::cfn {

// What engine and operations work with; lives longer than both.
struct StackContext {
  store::Store& store;
  const api::Dispatcher& api;
  const Clock& clock;
  Random& random;
  std::string region;
  std::string account;
  // Called before each commit of the engine; tests throw here to stand for a crash.
  std::function<void()> before_commit = {};
};

class StackEngine {
 public:
  StackEngine(store::Store& store, const api::Dispatcher& api, const Clock& clock, Random& random,
              std::string region, std::string account);
  explicit StackEngine(StackContext context);

  control::StepResult step(const std::string& stack_id);
  // StackIds whose status is *_IN_PROGRESS.
  std::vector<std::string> unfinished();
  StackContext& context() { return context_; }

 private:
  StackContext context_;
};

}  // namespace weir::cfn
