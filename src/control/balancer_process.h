// Processes of load balancers: started by us, living longer than us, found again after our restart.
//
// A balancer holds an flock on its lock file (inherited as descriptor 3 when it is started), so "does it
// live" never depends on a pid that another program may have by now. The file holds the pid, and a pidfd
// opened while the lock is seen held is the right process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace weir::control {

struct BalancerSpec {
  std::string arn;
  std::string netns_path;  // empty: the namespace of this process
  std::string link_path;   // unix socket that the balancer listens on
  std::string lock_path;
  std::string log_path;
  std::vector<std::string> command;  // program and all arguments
};

struct BalancerProcess {
  int pid = 0;
  int pidfd = -1;  // readable when the process has ended; closed by release(). -1: none (tests)
};

class BalancerProcesses {
 public:
  virtual ~BalancerProcesses() = default;
  // Starts one. The caller has seen that find() answers none.
  virtual Result<BalancerProcess> start(const BalancerSpec& spec) = 0;
  // The living process of the load balancer; pid 0 when there is none.
  virtual Result<BalancerProcess> find(const BalancerSpec& spec) = 0;
  virtual bool alive(const BalancerProcess& process) = 0;
  virtual void kill(const BalancerProcess& process, int signal) = 0;
  // Reaps it if it was our child and has ended, and closes pidfd.
  virtual void release(BalancerProcess& process) = 0;
};

std::unique_ptr<BalancerProcesses> make_balancer_processes();

}  // namespace weir::control
