// Listener rules: from a request head to an action (ELB API: CreateRule; alb.md 1.5).
#pragma once

#include <string_view>
#include <vector>

#include "http/header.h"
#include "http/message_rules.h"
#include "model/snapshot.h"

namespace weir::proxy {

struct RequestFacts {
  const http::MessageHead& head;
  const http::HeaderList& headers;
  std::string_view client_address;
};

// '*' matches any number of characters, '?' exactly one; "\\*" and "\\?" match themselves.
enum class Case : uint8_t { Sensitive, Insensitive };
bool matches_wildcard(std::string_view pattern, std::string_view text, Case letters);
// "10.0.0.0/8", "2001:db8::/32"; false for text that is not an address.
bool address_in_cidr(std::string_view address, std::string_view cidr);

// The first rule by priority whose conditions all hold, else the default action.
const model::Action& route(const model::Listener& listener, const RequestFacts& request);

}  // namespace weir::proxy
