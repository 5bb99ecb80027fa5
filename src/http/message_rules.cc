#include "http/message_rules.h"

namespace weir::http {

namespace {

constexpr bool is_pseudo(Token token) { return token <= Token::LastPseudo; }

bool is_pseudo_name(const Field& f) { return is_pseudo(f.token) || (!f.name.empty() && f.name[0] == ':'); }

bool parse_length(std::string_view text, int64_t& out) {
  if (text.empty() || text.size() > 18) return false;
  int64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + (c - '0');
  }
  if (out >= 0 && out != value) return false;  // two that differ
  out = value;
  return true;
}

// A regular field: §8.2.2.
bool check_regular(const Field& f, MessageHead& out) {
  switch (f.token) {
    case Token::Connection:
    case Token::KeepAlive:
    case Token::ProxyConnection:
    case Token::TransferEncoding:
    case Token::Upgrade:
      return false;
    case Token::Te:
      return f.value == "trailers";
    case Token::ContentLength:
      return parse_length(f.value, out.content_length);
    default:
      return true;
  }
}

bool take_once(const Field& f, unsigned& seen, std::string_view& out) {
  unsigned bit = 1u << static_cast<unsigned>(f.token);
  if (seen & bit) return false;
  seen |= bit;
  out = f.value;
  return true;
}

bool take_request_pseudo(const Field& f, unsigned& seen, MessageHead& out) {
  switch (f.token) {
    case Token::Method: return take_once(f, seen, out.method);
    case Token::Scheme: return take_once(f, seen, out.scheme);
    case Token::Path: return take_once(f, seen, out.path);
    case Token::Authority: return take_once(f, seen, out.authority);
    default: return false;
  }
}

}  // namespace

bool check_request(const HeaderList& list, MessageHead& out) {
  unsigned seen = 0;
  bool regular = false;
  for (const Field& f : list.fields) {
    if (is_pseudo_name(f)) {
      if (regular || !take_request_pseudo(f, seen, out)) return false;
    } else {
      regular = true;
      if (f.token >= Token::Connection && f.token <= Token::ContentLength && !check_regular(f, out)) return false;
    }
  }
  constexpr unsigned kNeeded = 1u << static_cast<unsigned>(Token::Method) |
                               1u << static_cast<unsigned>(Token::Scheme) | 1u << static_cast<unsigned>(Token::Path);
  if ((seen & kNeeded) != kNeeded || out.method.empty() || out.path.empty()) return false;
  return out.path[0] == '/' || (out.path == "*" && out.method == "OPTIONS");
}

bool check_response(const HeaderList& list, MessageHead& out) {
  bool regular = false;
  for (const Field& f : list.fields) {
    if (is_pseudo_name(f)) {
      if (regular || f.token != Token::Status || out.status != 0 || f.value.size() != 3) return false;
      for (char c : f.value) {
        if (c < '0' || c > '9') return false;
        out.status = out.status * 10 + (c - '0');
      }
      if (out.status < 100) return false;
    } else {
      regular = true;
      if (f.token >= Token::Connection && f.token <= Token::ContentLength && !check_regular(f, out)) return false;
    }
  }
  return out.status != 0;
}

bool check_trailers(const HeaderList& list) {
  MessageHead unused;
  for (const Field& f : list.fields) {
    if (is_pseudo_name(f)) return false;
    if (f.token != Token::ContentLength && !check_regular(f, unused)) return false;
  }
  return true;
}

}  // namespace weir::http
