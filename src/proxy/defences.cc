#include "proxy/defences.h"

#include <string>

namespace weir::proxy {

using http::h2::EndReason;
using http::h2::Event;

namespace {

void add_side(SideDefences& to, const SideDefences& from) {
  for (size_t i = 0; i < to.ends.size(); ++i) to.ends[i] += from.ends[i];
  for (size_t i = 0; i < to.frames.counts.size(); ++i) to.frames.counts[i] += from.frames.counts[i];
}

void append_side(const SideDefences& side, const std::string& name, std::vector<model::DefenceCount>& out) {
  for (size_t i = 1; i < side.ends.size(); ++i) {
    out.push_back({"connections_ended", name, std::string(to_string(static_cast<EndReason>(i))), side.ends[i]});
  }
  for (size_t i = 0; i < side.frames.counts.size(); ++i) {
    out.push_back({"events", name, std::string(to_string(static_cast<Event>(i))), side.frames.counts[i]});
  }
}

}  // namespace

void Defences::add(const Defences& other) {
  add_side(client, other.client);
  add_side(target, other.target);
  streams_stalled += other.streams_stalled;
  requests_not_held += other.requests_not_held;
  requests_refused += other.requests_refused;
  handshakes_postponed += other.handshakes_postponed;
  connections_over_limit += other.connections_over_limit;
  connections_not_allowed += other.connections_not_allowed;
  accept_failures += other.accept_failures;
}

void Defences::append_to(std::vector<model::DefenceCount>& out) const {
  append_side(client, "client", out);
  append_side(target, "target", out);
  out.push_back({"refused", "client", "stream_stalled", streams_stalled});
  out.push_back({"refused", "client", "request_not_held", requests_not_held});
  out.push_back({"refused", "client", "request_without_memory", requests_refused});
  out.push_back({"refused", "client", "handshake_postponed", handshakes_postponed});
  out.push_back({"refused", "client", "connection_over_limit", connections_over_limit});
  out.push_back({"refused", "client", "connection_not_allowed", connections_not_allowed});
  out.push_back({"refused", "client", "accept_failed", accept_failures});
}

}  // namespace weir::proxy
