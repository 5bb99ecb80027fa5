// A listener as one worker sees it: its configuration, compiled. Connections keep it alive; a snapshot replaces its
// contents in place, and what connections and streams have begun with stays as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/snapshot.h"
#include "net/tls.h"
#include "proxy/request_head.h"
#include "proxy/response_head.h"
#include "proxy/router.h"

namespace weir::proxy {

struct ListenerState {
  model::Listener config;
  std::shared_ptr<const net::TlsServerContext> tls;  // null: cleartext with prior knowledge
  bool removed = false;
  Router router;
  HeadRules head;
  ResponseRules response;
};

}  // namespace weir::proxy
