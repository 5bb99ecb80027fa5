// What handler tests share: a store in memory, a clock that stands, a dispatcher with all operations, and the
// resources that most operations need. For *_test.cc files only.
#pragma once

#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "api/context.h"
#include "api/dispatcher.h"
#include "base/clock.h"
#include "base/random.h"
#include "store/store.h"

namespace weir::api {

class StandingClock final : public Clock {
 public:
  TimePoint now() const override { return TimePoint(Duration(0)); }
  int64_t unix_ms() const override { return 1'763'850'030'123; }
};

class TestWorld {
 public:
  TestWorld();
  ~TestWorld();
  TestWorld(const TestWorld&) = delete;
  TestWorld& operator=(const TestWorld&) = delete;

  nlohmann::json call(const char* service, const char* operation, const nlohmann::json& input);
  // "Code: message" of the error that the call raises; "no error" when it succeeds.
  std::string error(const char* service, const char* operation, const nlohmann::json& input);

  // Each makes what is missing and answers its id.
  std::string vpc();
  std::string subnet(char zone);
  std::string group();
  std::string balancer();
  std::string target_group(const char* version = "GRPC");
  std::string certificate();
  std::string listener();
  std::string task_definition();

  StandingClock clock;
  Random random{7};
  std::string directory;  // removed with the world
  std::unique_ptr<store::Store> store;
  std::unique_ptr<LocalCa> ca;
  std::unique_ptr<Context> context;
  Dispatcher dispatcher;

 private:
  std::string vpc_, subnet_a_, subnet_b_, group_, balancer_, certificate_, listener_;
};

}  // namespace weir::api
