// The balancer's books against the world's: records of the access log and counters, compared with what clients and
// servers saw of each call.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/balancer.h"

namespace weir::sim {

class Audit {
 public:
  Audit(const Mix& mix, Ledger& ledger) : mix_(mix), ledger_(ledger) {}
  // Takes the records that wait; now and then, so that none is lost.
  void collect(Balancer& balancer);
  // When all calls have ended.
  void check(Balancer& balancer);

 private:
  struct Seen {
    proxy::AccessRecord record;
    std::string group, path, reason;
  };
  void take(const proxy::AccessRecord& record, const char* texts);
  void check_call(const Call& call);
  void check_status(const Call& call, const Seen& seen);
  void check_reset(const Call& call, const Seen& seen);
  void check_methods(const model::Stats& stats, uint64_t requests);
  void check_totals(Balancer& balancer, const model::Stats& stats);
  void differ(const Call& call, const Seen& seen, const std::string& why);
  void expect_equal(const std::string& what, uint64_t counted, uint64_t expected);

  const Mix& mix_;
  Ledger& ledger_;
  std::map<uint64_t, std::vector<Seen>> by_call_;
  uint64_t records_ = 0;
};

}  // namespace weir::sim
