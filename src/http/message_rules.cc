#include "http/message_rules.h"

#include "http/header_run.h"

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

// One of those that check_regular() looks at.
bool is_restricted(const Field& f) { return f.token >= Token::Connection && f.token <= Token::ContentLength; }

// Whether a check of what stands before these fields says all about them, too.
bool all_unrestricted(std::span<const Field> fields) {
  for (const Field& f : fields) {
    if (f.token <= Token::ContentLength || (f.token == Token::Other && is_pseudo_name(f))) return false;
  }
  return true;
}

// From the check of the list's run on.
template <class Check>
const MessageHead* check(const HeaderList& list, const Check* of_run) {
  static thread_local Check check;
  check = of_run != nullptr ? *of_run : Check{};
  for (const Field& f : list.fields) check.add(f);
  return check.complete() ? &check.head : nullptr;
}

bool take_status(const Field& f, MessageHead& out) {
  if (f.token != Token::Status || out.status != 0 || f.value.size() != 3) return false;
  for (char c : f.value) {
    if (c < '0' || c > '9') return false;
    out.status = out.status * 10 + (c - '0');
  }
  return out.status >= 100;
}

// Characters of a request target that no parser behind may read as its end, or as a fragment's begin.
bool good_path(std::string_view path) {
  for (char c : path) {
    auto byte = static_cast<uint8_t>(c);
    if (byte <= ' ' || byte == 0x7f || byte == '#') return false;
  }
  return true;
}

// RFC 9113 §8.3.1: no userinfo; and nothing that ends an authority.
bool good_authority(std::string_view authority) {
  for (char c : authority) {
    auto byte = static_cast<uint8_t>(c);
    if (byte <= ' ' || byte == 0x7f || c == '@' || c == '/' || c == '\\' || c == '?' || c == '#') return false;
  }
  return true;
}

// Methods and schemes: letters, digits and what tokens have besides, as far as a method or scheme of RFC 9110 does.
bool good_word(std::string_view word) {
  for (char c : word) {
    bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                c == '+' || c == '.';
    if (!good) return false;
  }
  return !word.empty();
}

bool take_once(const Field& f, uint32_t& seen, std::string_view& out) {
  unsigned bit = 1u << static_cast<unsigned>(f.token);
  if (seen & bit) return false;
  seen |= bit;
  out = f.value;
  return true;
}

bool take_request_pseudo(const Field& f, uint32_t& seen, MessageHead& out) {
  switch (f.token) {
    case Token::Method: return take_once(f, seen, out.method) && good_word(f.value);
    case Token::Scheme: return take_once(f, seen, out.scheme) && good_word(f.value);
    case Token::Path: return take_once(f, seen, out.path) && good_path(f.value);
    case Token::Authority: return take_once(f, seen, out.authority) && good_authority(f.value);
    default: return false;
  }
}

}  // namespace

void RequestCheck::add(const Field& f) {
  if (is_pseudo_name(f)) {
    good = good && !regular && take_request_pseudo(f, seen, head);
  } else {
    regular = true;
    if (is_restricted(f)) good = good && check_regular(f, head);
  }
}

bool RequestCheck::complete() const {
  constexpr uint32_t kNeeded = 1u << static_cast<unsigned>(Token::Method) |
                               1u << static_cast<unsigned>(Token::Scheme) | 1u << static_cast<unsigned>(Token::Path);
  if (!good || (seen & kNeeded) != kNeeded || head.method.empty() || head.path.empty()) return false;
  return head.path[0] == '/' || (head.path == "*" && head.method == "OPTIONS");
}

void ResponseCheck::add(const Field& f) {
  if (is_pseudo_name(f)) {
    good = good && !regular && take_status(f, head);
  } else {
    regular = true;
    if (is_restricted(f)) good = good && check_regular(f, head);
  }
}

bool good_in_trailers(const Field& f) {
  MessageHead unused;
  return !is_pseudo_name(f) && (f.token == Token::ContentLength || !is_restricted(f) || check_regular(f, unused));
}

const MessageHead* check_request(const HeaderList& list) {
  if (list.run != nullptr && all_unrestricted(list.fields)) return list.run->head_of_request();
  return check(list, list.run != nullptr ? &list.run->request() : nullptr);
}

const MessageHead* check_response(const HeaderList& list) {
  if (list.run != nullptr && all_unrestricted(list.fields)) return list.run->head_of_response();
  return check(list, list.run != nullptr ? &list.run->response() : nullptr);
}

bool check_trailers(const HeaderList& list) {
  if (list.run != nullptr && !list.run->good_as_trailers()) return false;
  for (const Field& f : list.fields) {
    if (!good_in_trailers(f)) return false;
  }
  return true;
}

}  // namespace weir::http
