// The head of a response as its client gets it: a listener may set fields in place of what the target sent
// (alb.md 1.6, routing.http.response.*).
#pragma once

#include <array>
#include <string>
#include <vector>

#include "http/h2/connection.h"
#include "http/header.h"
#include "http/header_run.h"
#include "model/snapshot.h"

namespace weir::proxy {

class ResponseRules {
 public:
  void compile(const model::Listener& listener, http::HeaderRuns& runs);
  bool active() const { return static_cast<bool>(added_); }
  // The fields that each response gets; nullptr: none.
  http::HeaderRun* added() const { return added_.get(); }
  // `list` without the fields that are set, and those behind it. Valid until the end of the turn.
  http::h2::OutgoingHeaders apply(http::HeaderList& list, http::HeaderRuns& runs);

 private:
  bool replaces(const http::Field& field) const;
  struct Rewritten {
    http::HeaderRunRef from, to;
  };
  static constexpr size_t kRewritten = 32;

  std::vector<std::string> names_;
  http::HeaderRunRef added_;
  std::array<Rewritten, kRewritten> rewritten_;
};

}  // namespace weir::proxy
