// Threads for what blocks: mount, fork/exec, image unpack. A job is a function that owns its input and
// touches no shared state; its completion runs on the loop.
#pragma once

#include <functional>
#include <memory>

#include "net/loop.h"

namespace weir::net {

class BlockingPool {
 public:
  // Jobs wait in order when all threads are busy.
  BlockingPool(Loop& loop, int threads);
  // Waits for running jobs; queued jobs and undelivered completions are dropped.
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Runs `job` on a pool thread, then `done` on the loop's thread. Call from the loop's thread.
  void run(std::move_only_function<void()> job, std::move_only_function<void()> done);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir::net
