// GET /metrics for a balancer without a control plane: HTTP/1.1 on the main thread's loop, one answer per connection.
//
// Limits: kClientsMax at a time (more are closed at once), kRequestBytesMax of request, ten seconds for everything.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/loop.h"

namespace weir::proxy {

class MetricsServer final : net::FdHandler {
 public:
  static constexpr size_t kClientsMax = 16;
  static constexpr size_t kRequestBytesMax = 4096;
  // Calls back with the page, later, on the loop's thread.
  using Source = std::function<void(std::move_only_function<void(std::string page)>)>;

  // Takes the listening descriptor over.
  MetricsServer(net::Loop& loop, int fd, Source source);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

 private:
  struct Client;
  void on_ready(uint32_t events) override;
  void answer(uint64_t id, int status, std::string body);
  void remove(uint64_t id);
  void sweep();

  net::Loop& loop_;
  int fd_;
  Source source_;
  std::vector<std::unique_ptr<Client>> clients_;
  uint64_t next_id_ = 1;
  net::Timer sweep_timer_;
};

}  // namespace weir::proxy
