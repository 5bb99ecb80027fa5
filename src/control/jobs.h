// Blocking work of the reconcilers: at most one job per key, errors kept until the key's next step, so that
// the work queue's backoff applies to them. Control thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/result.h"
#include "net/blocking_pool.h"

namespace weir::control {

class Jobs {
 public:
  explicit Jobs(net::BlockingPool& pool) : pool_(pool) {}
  // Jobs that still run keep running; their completions are dropped.
  ~Jobs() { *alive_ = false; }
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  bool running(const std::string& key) const { return running_.contains(key); }
  size_t in_flight() const { return running_.size(); }
  // The error of the key's last job, once.
  std::optional<std::string> take_error(const std::string& key) {
    auto found = errors_.find(key);
    if (found == errors_.end()) return std::nullopt;
    std::string error = std::move(found->second);
    errors_.erase(found);
    return error;
  }

  // Runs `work` on the pool, then `done` with its value or keeps its error; `wake` is called after either.
  template <class T, class Work, class Done, class Wake>
  void run(const std::string& key, Work work, Done done, Wake wake) {
    auto slot = std::make_shared<std::optional<Result<T>>>();
    running_.insert(key);
    pool_.run([slot, work = std::move(work)]() mutable { slot->emplace(work()); },
              [this, alive = alive_, slot, key, done = std::move(done), wake = std::move(wake)]() mutable {
                if (!*alive) return;
                running_.erase(key);
                Result<T>& result = **slot;
                if (!result) {
                  errors_[key] = result.error().message;
                } else if constexpr (std::is_void_v<T>) {
                  done();
                } else {
                  done(std::move(*result));
                }
                wake();
              });
  }

 private:
  net::BlockingPool& pool_;
  std::set<std::string> running_;
  std::map<std::string, std::string> errors_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace weir::control
