// The control plane of one state directory in one process: store, drivers, reconcilers, CloudFormation and the
// API's sockets around one loop. Destroying it leaves tasks and load balancers running.
#pragma once

#include <memory>

#include "base/result.h"
#include "cli/options.h"

namespace weir::cli {

class Plane {
 public:
  // Opens everything; the error says the cause and what to do next.
  static Result<std::unique_ptr<Plane>> open(const Common& common, const ServeOptions& options);
  ~Plane();
  Plane(const Plane&) = delete;
  Plane& operator=(const Plane&) = delete;

  // Runs until SIGTERM, SIGINT or the Shutdown operation.
  void run();

 private:
  struct Impl;
  explicit Plane(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::cli
