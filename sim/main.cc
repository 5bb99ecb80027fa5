// weir_sim --seed N [--steps N] [--trace] | --seeds A..B: the real data plane in a simulated world. Prints what was
// violated and the seed that shows it; the same seed does the same, bit for bit.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "base/log.h"
#include "net/openssl_memory.h"
#include "sim/world.h"

namespace weir::sim {

namespace {

// What a run of so many seeds must have seen, so that its silence means something.
constexpr uint64_t kSeedsForAll = 200;
constexpr const char* kExpected[] = {
    "stream moved",     "try after a failure", "refused for want of memory", "fixed response",
    "word of a Watch",  "settings changed",    "target ejected",             "share changed",
    "streams reported", "transparent retry",   "target registered again",    "window grown",
    "TLS session resumed", "health check by GET",
    "page of strict mode", "listener deleted"};

struct Options {
  uint64_t first = 0, last = 0;
  uint64_t steps = 4'000'000;
  bool trace = false, verbose = false;
};

RunResult run_seed(uint64_t seed, const Options& options) {
  auto world = std::make_unique<World>(seed, options.trace);
  RunResult result = world->run(options.steps);
  result.seed = seed;
  return result;
}

void report(const RunResult& r) {
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(r.seed), r.mix.c_str());
  for (const std::string& v : r.violations) std::printf("  %s\n", v.c_str());
  std::printf("  again: ./dev sim --seed %llu --trace\n", static_cast<unsigned long long>(r.seed));
}

// False: something never happened in a run that is long enough for all.
bool report_happened(const std::map<std::string, uint64_t>& happened, uint64_t seeds) {
  std::string text;
  for (const auto& [name, times] : happened) {
    text += (text.empty() ? "" : ", ") + name + " " + std::to_string(times);
  }
  std::puts(text.c_str());
  bool all = true;
  for (const char* name : kExpected) {
    if (seeds < kSeedsForAll || happened.contains(name)) continue;
    std::printf("in no seed: %s\n", name);
    all = false;
  }
  return all;
}

int run(const Options& options) {
  std::map<std::string, uint64_t> happened;
  uint64_t calls = 0, turns = 0, failed = 0, repeated = 0;
  uint64_t counts[5] = {};
  for (uint64_t seed = options.first; seed <= options.last; ++seed) {
    RunResult r = run_seed(seed, options);
    if (seed % 25 == 0 && !options.trace) {  // the same seed, the same run
      ++repeated;
      if (run_seed(seed, options).digest != r.digest) {
        r.violations.push_back("a second run of this seed went differently");
      }
    }
    for (const auto& [name, times] : r.happened) happened[name] += times;
    calls += r.calls;
    turns += r.turns;
    for (int i = 0; i < 5; ++i) counts[i] += r.counts[i];
    if (options.verbose && r.violations.empty()) {
      std::printf("seed %llu digest %016llx calls %zu turns %llu: %s\n", static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(r.digest), r.calls, static_cast<unsigned long long>(r.turns),
                  r.mix.c_str());
    }
    if (!r.violations.empty()) {
      ++failed;
      report(r);
    }
    std::fflush(stdout);
  }
  auto n = [](uint64_t value) { return std::to_string(value); };
  std::string summary = n(options.last - options.first + 1) + " seeds (" + n(repeated) + " twice), " + n(calls) +
                        " calls: " + n(counts[0]) + " ended as their server said, " + n(counts[1]) +
                        " with a status of the balancer, " + n(counts[2]) + " reset, " + n(counts[3]) +
                        " with their connection, " + n(counts[4]) + " cancelled; " + n(turns) + " turns; " + n(failed) +
                        " seeds failed";
  bool all = report_happened(happened, options.last - options.first + 1);
  std::puts(summary.c_str());
  return failed == 0 && all ? 0 : 1;
}

bool parse(int argc, char** argv, Options& o) {
  bool chosen = false;
  for (int i = 1; i < argc; ++i) {
    std::string a = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (a == "--trace") {
      o.trace = true;
    } else if (a == "--verbose") {
      o.verbose = true;
    } else if (a == "--seed" && value != nullptr) {
      o.first = o.last = std::strtoull(value, nullptr, 10);
      chosen = o.verbose = true;
      ++i;
    } else if (a == "--seeds" && value != nullptr) {
      const char* dots = std::strstr(value, "..");
      if (dots == nullptr) return false;
      o.first = std::strtoull(value, nullptr, 10);
      o.last = std::strtoull(dots + 2, nullptr, 10);
      chosen = true;
      ++i;
    } else if (a == "--steps" && value != nullptr) {
      o.steps = std::strtoull(value, nullptr, 10);
      ++i;
    } else {
      return false;
    }
  }
  return chosen && o.first <= o.last;
}

}  // namespace

}  // namespace weir::sim

int main(int argc, char** argv) {
  weir::net::use_pooled_openssl_memory();
  weir::set_log_level(weir::LogLevel::Error);
  weir::sim::Options options;
  if (!weir::sim::parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: %s --seed N | --seeds A..B [--steps N] [--trace] [--verbose]\n", argv[0]);
    return 2;
  }
  return weir::sim::run(options);
}
