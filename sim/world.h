// One run of the simulation: everything from one seed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/audit.h"
#include "sim/client.h"
#include "sim/config.h"
#include "sim/server.h"

namespace weir::sim {

struct RunResult {
  uint64_t seed = 0;
  std::string mix;
  std::vector<std::string> violations;
  uint64_t digest = 0;   // of everything that happened
  uint64_t turns = 0;
  size_t calls = 0;
  uint32_t counts[5] = {};
  std::map<std::string, uint64_t> happened;
};

class World {
 public:
  World(uint64_t seed, bool trace);
  // steps_max: turns of loops; beyond it the run counts as stuck.
  RunResult run(uint64_t steps_max);

 private:
  struct Member {                // a target as the control plane knows it
    std::unique_ptr<ServerHost> host;
    bool draining = false;
    bool gone = false;           // in no snapshot any more
    struct Ejected {             // what the latest control tick saw, by group
      int ticks = 0;             // it is ejected so long, and there are others
      uint64_t requests = 0;
    } ejected[kGroups];
    TimePoint well_at{};         // recovers then
    TimePoint removed_at{};
  };
  bool step(TimePoint limit);
  void advance(TimePoint limit);
  void run_until(TimePoint limit, const std::function<bool()>& done);
  std::vector<Config::Registered> registered() const;
  void apply_snapshot();
  void apply_change();
  void check_ejected();
  void check_watches();
  bool all_healthy() const;
  void check_windows();
  void add_target();
  void control_tick();
  void churn();
  void set_listening(bool listening);
  void fault();
  void recover_all();
  void note_troubles();
  void wind_down();
  size_t bytes_max() const;
  Line draw_line();

  Random random_;
  Mix mix_;
  Ledger ledger_;
  Clock clock_;
  Network network_;
  Loop actors_;
  Stage stage_;
  std::unique_ptr<Balancer> balancer_;
  Config config_;
  Audit audit_;
  std::vector<Member> targets_;
  std::vector<std::unique_ptr<ClientDriver>> clients_;
  struct Sleeper {
    Loop* loop;
    TimePoint wake_at;
  };
  std::vector<Sleeper> sleepers_;
  net::Timer control_timer_;
  uint64_t calls_started_ = 0;
  uint64_t turns_ = 0;
  uint64_t turns_max_ = 0;
  uint16_t next_port_ = 7000;
  bool faults_over_ = false;
  bool drained_once_ = false;
};

}  // namespace weir::sim
