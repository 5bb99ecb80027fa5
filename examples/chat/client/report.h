#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace weir::chat {

// One unary RPC or one stream, as it ended.
struct Outcome {
  std::string kind;       // "say", "collect", "watch", "chat"
  std::string served_by;  // empty when no answer named a task
  std::string failure;    // empty: ended OK, complete and in order; else a gRPC status name,
                          // "DISORDER", "INCOMPLETE", "MOVED" or "WRONG_REPLY"
  std::string detail;     // for people
  uint64_t sent = 0;      // messages
  uint64_t received = 0;
  uint32_t micros = 0;    // unary only: from start to status
};

// Gathers outcomes from any thread. Bounded: at most 2,000,000 latencies and 20 samples of failures.
class Report {
 public:
  void add(const Outcome& outcome);
  uint64_t total() const;
  uint64_t failures() const;
  // For people on stdout, then one line of JSON (docs: README.md of the example).
  void print(double seconds) const;

 private:
  struct Kind {
    uint64_t total = 0, ok = 0, sent = 0, received = 0;
    std::map<std::string, uint64_t> failures;  // by Outcome::failure
  };

  mutable std::mutex mutex_;
  std::map<std::string, Kind> kinds_;
  std::map<std::string, std::map<std::string, uint64_t>> tasks_;  // task, kind: ended there
  std::vector<uint32_t> micros_;
  std::vector<std::string> samples_;
};

}  // namespace weir::chat
