#include "proxy/router.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>
#include <string>

namespace weir::proxy {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same(char a, char b, Case letters) {
  return a == b || (letters == Case::Insensitive && lower(a) == lower(b));
}

bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

// A backslash before '*' or '?' takes its meaning away (ELB API: QueryStringConditionConfig).
bool is_escaped(std::string_view pattern, size_t at) {
  return pattern[at] == '\\' && at + 1 < pattern.size() && (pattern[at + 1] == '*' || pattern[at + 1] == '?');
}

std::string_view without_port(std::string_view authority) {
  if (authority.starts_with('[')) return authority.substr(0, authority.find(']') + 1);
  return authority.substr(0, authority.find(':'));
}

bool query_matches(std::string_view wanted, std::string_view query) {
  // "key=value" or "value" (any key), as the control plane packs ELB's {Key, Value} pairs.
  size_t equals = wanted.find('=');
  while (!query.empty()) {
    size_t end = query.find('&');
    std::string_view pair = query.substr(0, end);
    query = end == std::string_view::npos ? std::string_view{} : query.substr(end + 1);
    std::string_view value = pair.find('=') == std::string_view::npos ? "" : pair.substr(pair.find('=') + 1);
    if (matches_wildcard(wanted, equals == std::string_view::npos ? value : pair, Case::Insensitive))
      return true;
  }
  return false;
}

bool value_matches(const model::Condition& c, std::string_view value, const RequestFacts& request) {
  std::string_view path = request.head.path.substr(0, request.head.path.find('?'));
  switch (c.field) {
    case model::Condition::Field::PathPattern:
      return matches_wildcard(value, path, Case::Sensitive);
    case model::Condition::Field::HostHeader:
      return matches_wildcard(value, without_port(request.head.authority), Case::Insensitive);
    case model::Condition::Field::HttpHeader:
      for (const http::Field& f : request.headers.fields) {
        if (same_name(f.name, c.name) && matches_wildcard(value, f.value, Case::Insensitive)) return true;
      }
      return false;
    case model::Condition::Field::QueryString: {
      size_t mark = request.head.path.find('?');
      return mark != std::string_view::npos && query_matches(value, request.head.path.substr(mark + 1));
    }
    case model::Condition::Field::Method:
      return value == request.head.method;
    case model::Condition::Field::SourceIp:
      return address_in_cidr(request.client_address, value);
  }
  return false;
}

bool holds(const model::Condition& c, const RequestFacts& request) {
  for (const std::string& value : c.values) {
    if (value_matches(c, value, request)) return true;
  }
  return false;
}

}  // namespace

bool matches_wildcard(std::string_view pattern, std::string_view text, Case letters) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;
  size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && is_escaped(pattern, p) && text[t] == pattern[p + 1]) {
      p += 2;
      ++t;
    } else if (p < pattern.size() && !is_escaped(pattern, p) &&
               (pattern[p] == '?' || same(pattern[p], text[t], letters))) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool address_in_cidr(std::string_view address, std::string_view cidr) {
  size_t slash = cidr.find('/');
  std::string network(cidr.substr(0, slash));
  std::string host(address);
  unsigned char a[16];
  unsigned char b[16];
  int family = network.find(':') == std::string::npos ? AF_INET : AF_INET6;
  if (inet_pton(family, network.c_str(), a) != 1 || inet_pton(family, host.c_str(), b) != 1) return false;
  unsigned bits = family == AF_INET ? 32 : 128;
  if (slash != std::string_view::npos) {
    std::string_view text = cidr.substr(slash + 1);
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
    unsigned most = family == AF_INET ? 32u : 128u;
    if (error != std::errc() || end != text.data() + text.size() || bits > most) return false;
  }
  if (std::memcmp(a, b, bits / 8) != 0) return false;
  if (bits % 8 == 0) return true;
  auto mask = static_cast<unsigned char>(0xff << (8 - bits % 8));
  return (a[bits / 8] & mask) == (b[bits / 8] & mask);
}

const model::Action& route(const model::Listener& listener, const RequestFacts& request) {
  for (const model::Rule& rule : listener.rules) {
    bool all = true;
    for (const model::Condition& c : rule.conditions) all = all && holds(c, request);
    if (all) return rule.action;
  }
  return listener.default_action;
}

}  // namespace weir::proxy
