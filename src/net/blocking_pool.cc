#include "net/blocking_pool.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace weir::net {

struct BlockingPool::Impl {
  struct Job {
    std::move_only_function<void()> work;
    std::move_only_function<void()> done;
  };
  explicit Impl(Loop& loop_in) : loop(loop_in) {}

  // self: this, kept alive by completions that the loop has not run.
  void work(const std::shared_ptr<Impl>& self) {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return closing || !jobs.empty(); });
      if (closing) return;
      Job job = std::move(jobs.front());
      jobs.pop_front();
      lock.unlock();
      job.work();
      lock.lock();
      if (closing) return;
      loop.post([self, done = std::move(job.done)]() mutable {
        bool wanted;
        {
          std::lock_guard closed(self->mutex);
          wanted = !self->closing;
        }
        if (wanted) done();
      });
    }
  }

  Loop& loop;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Job> jobs;
  bool closing = false;
  std::vector<std::thread> threads;
};

BlockingPool::BlockingPool(Loop& loop, int threads) : impl_(std::make_shared<Impl>(loop)) {
  for (int i = 0; i < threads; ++i) impl_->threads.emplace_back([impl = impl_] { impl->work(impl); });
}

BlockingPool::~BlockingPool() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->closing = true;
  }
  impl_->changed.notify_all();
  for (auto& thread : impl_->threads) thread.join();
}

void BlockingPool::run(std::move_only_function<void()> job, std::move_only_function<void()> done) {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->jobs.push_back({std::move(job), std::move(done)});
  }
  impl_->changed.notify_one();
}

}  // namespace weir::net
