// Listener rules: from a request head to an action (ELB API: CreateRule; alb.md 1.5).
//
// Compiled when a snapshot is applied, one router per listener and worker. What a request costs does not grow with
// the number of rules: which rule is the first whose path, host and method conditions hold is remembered for the
// requests seen lately (gRPC clients call few methods), and only conditions on other things are looked at each time.
// Nothing is allocated per request.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "base/random.h"
#include "base/slab.h"
#include "http/header_run.h"
#include "http/message_rules.h"
#include "model/snapshot.h"
#include "proxy/cidr.h"
#include "proxy/pattern.h"
#include "proxy/target.h"

namespace re2 {
class RE2;
}

namespace weir::proxy {

struct RequestFacts {
  const http::MessageHead& head;
  const http::HeaderList& headers;
  const IpAddress& client;  // the TCP peer, never x-forwarded-for
};

// What a rule does, ready to be done.
struct RuleAction {
  model::Action::Kind kind = model::Action::Kind::Forward;
  uint32_t priority = 0;  // 0: the default rule
  struct Share {
    Handle<Group> group;  // invalid: the snapshot does not have it
    uint32_t up_to;       // sum of the weights so far
  };
  std::vector<Share> shares;  // five at most; groups of weight 0 are left out
  uint16_t status = 503;      // FixedResponse, and what follows
  std::string content_type;
  std::string body;

  // By weight, for each request; a group without targets keeps its share (alb.md 1.5). Invalid: all weights are 0.
  Handle<Group> choose(Random& random) const;
};

class Router {
 public:
  using GroupOf = std::function<Handle<Group>(const std::string& arn)>;

  Router();
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // Group handles are looked up here: compile again when groups came or went.
  void compile(const model::Listener& listener, const GroupOf& group_of);
  // The first rule by priority whose conditions all hold, else the default action. Valid until the next compile().
  const RuleAction& route(const RequestFacts& request, Arena& arena) {
    return rules_.empty() ? default_action_ : evaluate(request, arena);
  }

 private:
  struct Condition;
  struct Rule;
  struct Subject;
  // A request seen before. Longer ones are not remembered.
  struct Remembered {
    uint32_t hash = 0;
    uint32_t first = 0;  // rule, or rules_.size()
    uint8_t path_size = 0;
    uint8_t host_size = 0;
    uint8_t method_size = 0;
    std::array<char, 189> text;
  };
  static constexpr size_t kRemembered = 512;
  // The same for requests whose path, method and host stand in a run.
  struct RememberedRun {
    http::HeaderRunRef run;
    uint32_t first = 0;
  };
  static constexpr size_t kRememberedRuns = 64;

  const RuleAction& evaluate(const RequestFacts& request, Arena& arena);
  size_t first_by_shape(const Subject& subject, size_t from) const;
  size_t recall(Subject& subject);
  size_t recall_by_text(Subject& subject);
  static RuleAction compiled_action(const model::Action& action, uint32_t priority, const GroupOf& group_of);
  static Condition compiled_condition(const model::Condition& from);

  std::vector<Rule> rules_;
  RuleAction default_action_;
  bool uses_host_ = false;
  std::unique_ptr<std::array<Remembered, kRemembered>> remembered_;
  std::array<RememberedRun, kRememberedRuns> remembered_runs_;
};

}  // namespace weir::proxy
