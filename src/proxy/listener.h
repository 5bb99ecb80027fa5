// A listener as one worker sees it. Connections keep it alive; a snapshot replaces its contents in place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/snapshot.h"
#include "net/tls.h"

namespace weir::proxy {

struct ListenerState {
  model::Listener config;
  std::shared_ptr<const net::TlsServerContext> tls;  // null: cleartext with prior knowledge
  bool removed = false;
};

}  // namespace weir::proxy
