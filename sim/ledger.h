// The book of all calls of a run: what was planned, what each side saw, and whether what the client was told is true.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "sim/plan.h"

namespace weir::sim {

// Which rule of the listener a call meets.
enum class Lane : uint8_t { Default, Other, Fixed, Header };
inline constexpr std::string_view kFixedBody = "fixed reply";
inline constexpr int kFixedStatus = 403;  // PERMISSION_DENIED (7) to a gRPC client
std::string_view path_of(Lane lane);

// How a call ended for its client.
struct Ending {
  enum class Kind : uint8_t { Open, Status, Reset, Lost, Cancelled, NeverSent } kind = Kind::Open;
  int grpc_status = -1;
  std::string message;    // grpc-message; of a response with another HTTP status than 200 its body
  uint32_t code = 0;      // Reset
  bool complete = false;  // every response message came
  bool at_boundary = true;          // no message had come in part
  uint32_t messages = 0;            // whole ones that came
  std::string pushback = {};        // grpc-retry-pushback-ms
  int http_status = 200;
};

// One arrival of a call at a server.
struct Execution {
  TimePoint began{};
  int group = 0;
  uint16_t port = 0;
  uint32_t previous_attempts = 0;  // what grpc-previous-rpc-attempts said
  uint32_t messages = 0;           // whole ones that came
  bool refused = false;   // REFUSED_STREAM: not processed
  bool failed = false;    // ended with trailers alone, by failed_status, which the policy may retry
  int failed_status = 0;
  Duration wait{};        // before another try, as this one asked
  bool finished = false;  // trailers or reset as planned have been given to the server's HTTP/2
  bool over = false;      // the server's stream is gone
};

struct Call {
  Plan plan;
  Lane lane = Lane::Default;
  uint32_t messages_sent = 0;      // that the client's HTTP/2 took, begun ones among them
  TimePoint started{};
  TimePoint ended{};
  TimePoint progress{};   // when body bytes last arrived anywhere
  Ending ending;
  std::deque<Execution> executions;  // addresses stay
};

// When the world last did something that may end calls without anyone's fault.
struct Troubles {
  TimePoint target{};     // a target crashed, was cut, fell silent, left before its streams were over
  TimePoint client{};
  TimePoint no_target{};  // a group without a target that takes requests
  TimePoint full{};       // targets that allow few streams
  TimePoint drained{};    // the deregistration delay of a target was over
};

class Ledger {
 public:
  explicit Ledger(const Mix& mix) : mix_(mix) {}
  Call& start(Plan plan, TimePoint now);
  const std::deque<Call>& calls() const { return calls_; }
  Call* find(uint64_t id) { return id >= 1 && id <= calls_.size() ? &calls_[id - 1] : nullptr; }
  // Judges the ending; a lie goes to `violations`.
  void end(Call& call, Ending ending, TimePoint now);
  void violation(std::string text);
  // The same, about a call.
  void lie(const Call& call, const std::string& why);
  // No server has a call any more.
  bool servers_done() const;
  // At the end of the run.
  void check_all_over();

  Troubles troubles;
  const std::vector<std::string>& violations() const { return violations_; }
  size_t size() const { return calls_.size(); }
  size_t open() const { return open_; }
  uint64_t digest() const { return digest_; }
  // Everything that happens goes through here; the digest tells two runs apart.
  void note(TimePoint now, std::string_view what);
  bool trace = false;
  // What happened, by name, and how often: that a run does what it is meant to.
  std::map<std::string, uint64_t> happened;
  // ended as planned, told otherwise by us, reset, lost, cancelled
  uint32_t counts[5] = {};
  uint32_t retried = 0;  // tries that followed a failed one, as servers saw it
  void check_execution(const Call& call, TimePoint now);

 private:
  void judge(const Call& call, TimePoint now);
  void judge_executions(const Call& call);
  void judge_failure(const Call& call, TimePoint now);
  void judge_moved(const Call& call, TimePoint now);
  void judge_idle(const Call& call, TimePoint now);
  void judge_status(const Call& call, TimePoint now);
  void judge_own_status(const Call& call, TimePoint now);
  void judge_page(const Call& call, TimePoint now);
  void judge_reset(const Call& call, TimePoint now);

  const Mix& mix_;
  std::deque<Call> calls_;
  size_t open_ = 0;
  uint64_t digest_ = 14695981039346656037ull;
  std::vector<std::string> violations_;
  std::deque<TimePoint> retries_[kGroups];  // of the last seconds, as servers saw them
};

}  // namespace weir::sim
