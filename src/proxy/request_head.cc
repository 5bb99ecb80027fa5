#include "proxy/request_head.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "http/known_names.h"
#include "proxy/downstream.h"

namespace weir::proxy {

using http::Field;
using http::Token;
using http::token_bit;
using model::ForwardedFor;

namespace {

constexpr std::string_view kTlsVersionName = http::token_name(Token::XAmznTlsVersion);
constexpr std::string_view kTlsCipherName = http::token_name(Token::XAmznTlsCipherSuite);
constexpr uint64_t kTlsBits = token_bit(Token::XAmznTlsVersion) | token_bit(Token::XAmznTlsCipherSuite);
constexpr uint64_t kHostBits = token_bit(Token::Authority) | token_bit(Token::Host);
// Fields of which a target gets something else for each connection or request.
constexpr uint64_t kOwnBits = token_bit(Token::XForwardedProto) | token_bit(Token::XForwardedPort) |
                              token_bit(Token::XForwardedFor) | token_bit(Token::XAmznTraceId);

Field field(std::string_view name, std::string_view value) {
  return {name, value, http::field_hash(name, value), http::token_of(name), false};
}

std::string_view join(Arena& arena, std::initializer_list<std::string_view> parts) {
  size_t size = 0;
  for (std::string_view part : parts) size += part.size();
  char* p = arena.allocate(size);
  char* to = p;
  for (std::string_view part : parts) {
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    to += part.size();
  }
  return {p, size};
}

// "Root=1-…"
std::string_view fresh_trace_id(std::string_view key, const HeadTools& tools) {
  char text[TraceId::kTextBytes];
  tools.trace_ids.next(tools.unix_seconds).write(text);
  return join(tools.arena, {key, {text, sizeof text}});
}

// The part of "Self=…;Root=…;CalledFrom=app" that begins with `key`; npos: there is none.
size_t find_part(std::string_view value, std::string_view key) {
  for (size_t at = 0; at < value.size();) {
    if (value.substr(at).starts_with(key)) return at;
    size_t end = value.find(';', at);
    if (end == std::string_view::npos) break;
    at = end + 1;
    while (at < value.size() && value[at] == ' ') ++at;
  }
  return std::string_view::npos;
}

// Self is set or renewed, Root and all else kept; what has neither gets a Root.
std::string_view renewed_trace_id(std::string_view value, size_t list_size, const HeadTools& tools) {
  if (list_size > kTraceHeadersMax || value.empty()) return fresh_trace_id("Root=", tools);
  if (size_t self = find_part(value, "Self="); self != std::string_view::npos) {
    size_t end = value.find(';', self);
    std::string_view rest = end == std::string_view::npos ? std::string_view{} : value.substr(end);
    return join(tools.arena, {value.substr(0, self), fresh_trace_id("Self=", tools), rest});
  }
  bool root = find_part(value, "Root=") != std::string_view::npos;
  return join(tools.arena, {fresh_trace_id(root ? "Self=" : "Root=", tools), ";", value});
}

size_t addresses_in(std::string_view value) {
  return static_cast<size_t>(std::count(value.begin(), value.end(), ',')) + 1;
}

std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

// Where the port's colon stands; size(): there is no port.
size_t port_at(std::string_view host) {
  size_t from = host.starts_with('[') ? host.find(']') : 0;
  if (from == std::string_view::npos) return host.size();
  size_t colon = host.find(':', from);
  return colon == std::string_view::npos ? host.size() : colon;
}

}  // namespace

std::optional<HeadRefusal> refusal_of(const http::HeaderList& list, const http::MessageHead& head) {
  if (list.too_large) return HeadRefusal{400, 8, "request headers are larger than 64 KB or more than 100 fields"};
  if (head.path.size() > kFieldBytesMax) return HeadRefusal{414, 2, "the path is longer than 16 KB"};
  if (http::is(head.method, "TRACE")) return HeadRefusal{405, 12, "the method TRACE is not allowed"};
  size_t addresses = 0;
  size_t largest = 0;
  list.for_each([&](const Field& f) {
    largest = std::max(largest, f.name.size() + f.value.size());
    if (f.token == Token::XForwardedFor) addresses += addresses_in(f.value);
  });
  if (largest > kFieldBytesMax) return HeadRefusal{400, 8, "a request header is larger than 16 KB"};
  if (addresses > kForwardedForMax) return HeadRefusal{463, 2, "x-forwarded-for has more than 30 addresses"};
  return std::nullopt;
}

void HeadRules::compile(const model::RoutingSnapshot& snapshot, const model::Listener& listener) {
  ++version_;
  rewritten_ = {};
  bool common = listener.port == 80 || listener.port == 443;
  host_ = snapshot.preserve_host ? Host::AsItCame : common ? Host::WithoutPort : Host::WithPort;
  forwarded_for_ = snapshot.forwarded_for;
  forwarded_for_port_ = snapshot.forwarded_for_port && snapshot.forwarded_for == ForwardedFor::Append;
  drop_invalid_ = snapshot.drop_invalid_headers;
  tls_headers_ = snapshot.tls_headers && listener.tls;
  port_ = ":" + std::to_string(listener.port);
  proto_ = listener.tls ? "https" : "http";
  tls_version_name_ = kTlsVersionName;
  tls_cipher_name_ = kTlsCipherName;
  for (const model::NameValue& renamed : listener.renamed_headers) {
    if (renamed.name == kTlsVersionName) tls_version_name_ = lower_case(renamed.value);
    if (renamed.name == kTlsCipherName) tls_cipher_name_ = lower_case(renamed.value);
  }
  tls_headers_renamed_ = tls_headers_ && (tls_version_name_ != kTlsVersionName || tls_cipher_name_ != kTlsCipherName);
}

std::string HeadRules::address_of(const Connection& c) const {
  std::string address(c.client_address);
  if (!forwarded_for_port_) return address;
  if (address.find(':') != std::string::npos) address = "[" + address + "]";
  return address + ":" + std::to_string(c.client_port);
}

http::HeaderRunRef HeadRules::constant_fields(const Connection& c, bool client_sent_for,
                                              http::HeaderRuns& runs) const {
  std::string address = address_of(c);
  std::vector<Field> fields{field("x-forwarded-proto", proto_),
                            field("x-forwarded-port", std::string_view(port_).substr(1))};
  if (tls_headers_ && !c.tls_version.empty()) {
    fields.push_back(field(tls_version_name_, c.tls_version));
    fields.push_back(field(tls_cipher_name_, c.tls_cipher));
  }
  if (!client_sent_for && forwarded_for_ == ForwardedFor::Append) fields.push_back(field("x-forwarded-for", address));
  return runs.intern(fields);
}

// Changes fields by the rules of one listener.
class HeadEditor {
 public:
  HeadEditor(HeadRules& rules, const HeadTools& tools, size_t list_size)
      : rules_(rules), tools_(tools), list_size_(list_size) {}

  // What the run becomes; the same for all connections of the listener.
  const HeadRules::Rewritten& rewritten(http::HeaderRun* run) {
    HeadRules::Rewritten& known = rules_.rewritten_[run->hash() % HeadRules::kRewritten];
    if (known.from.get() == run) [[likely]] return known;
    http::FieldList fields(run->fields());
    edit(fields);
    for (Field& f : fields) {
      if (f.hash == 0) f.hash = http::field_hash(f.name, f.value);
    }
    known = {http::HeaderRunRef(run), tools_.runs.intern(fields)};
    return known;
  }

  void edit(http::FieldList& fields) {
    fields.erase_if([this](Field& f) { return drops(f); });
  }

  TargetHead::InvalidNames fate_of_invalid_names() const {
    return rules_.drop_invalid_ ? TargetHead::InvalidNames::Dropped : TargetHead::InvalidNames::Forwarded;
  }
  bool needed(const http::HeaderList& list) const {
    return (list.loose_tokens & (kHostBits | kOwnBits | kTlsBits)) != 0 || rules_.tls_headers_renamed_ ||
           (list.odd_names && rules_.drop_invalid_);
  }

 private:
  // Changes the field, or answers that it goes.
  bool drops(Field& f) {
    switch (f.token) {
      case Token::Authority:
      case Token::Host:
        change(f, host_of(f.value));
        return false;
      case Token::XForwardedProto:
      case Token::XForwardedPort:
        return true;
      case Token::XForwardedFor:
        return rules_.forwarded_for_ == ForwardedFor::Remove;
      case Token::XAmznTraceId:
        f.value = renewed_trace_id(f.value, list_size_, tools_);
        f.hash = 0;
        f.unique = true;
        return false;
      case Token::Other:
        return drops_name(f) || (rules_.drop_invalid_ && f.odd_name);
      default:
        return (token_bit(f.token) & kTlsBits) != 0 && drops_name(f);
    }
  }
  // What the client sends under the names of the fields that say how it came here.
  bool drops_name(const Field& f) const {
    return rules_.tls_headers_ && (f.name == rules_.tls_version_name_ || f.name == rules_.tls_cipher_name_);
  }
  static void change(Field& f, std::string_view value) {
    if (value.data() == f.value.data() && value.size() == f.value.size()) return;
    f.value = value;
    f.hash = 0;
  }
  // Without the port, or with the listener's if there is none, in lower case; "preserve" leaves it alone.
  std::string_view host_of(std::string_view host) const {
    if (rules_.host_ == HeadRules::Host::AsItCame || host.empty()) return host;
    size_t port = port_at(host);
    bool append = rules_.host_ == HeadRules::Host::WithPort && port == host.size();
    std::string_view kept = rules_.host_ == HeadRules::Host::WithoutPort ? host.substr(0, port) : host;
    bool upper = std::any_of(kept.begin(), kept.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    if (!append && !upper) return kept;
    std::string_view added = append ? std::string_view(rules_.port_) : std::string_view{};
    char* p = tools_.arena.allocate(kept.size() + added.size());
    std::transform(kept.begin(), kept.end(), p,
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    std::copy(added.begin(), added.end(), p + kept.size());
    return {p, kept.size() + added.size()};
  }

  HeadRules& rules_;
  const HeadTools& tools_;
  size_t list_size_;
};

namespace {

// What the client says about x-forwarded-for is kept, its own address follows.
void append_address(http::FieldList& fields, std::string_view address, Arena& arena) {
  Field* last = nullptr;
  for (Field& f : fields) {
    if (f.token == Token::XForwardedFor) last = &f;
  }
  if (last == nullptr) return;
  last->value = last->value.empty() ? join(arena, {address}) : join(arena, {last->value, ", ", address});
  last->hash = 0;
}

}  // namespace

TargetHead build_request(Downstream& down, http::HeaderList& list, uint64_t tokens, const HeadTools& tools) {
  HeadEditor editor(down.listener().head, tools, list.list_size);
  bool client_sent_for = (tokens & token_bit(Token::XForwardedFor)) != 0;
  if (list.run != nullptr && (list.run->tokens() & kOwnBits) != 0) list.unfold();
  const auto* known = list.run == nullptr ? nullptr : &editor.rewritten(list.run);
  bool invalid = list.odd_names || (list.run != nullptr && list.run->odd_names());
  if (editor.needed(list)) {
    editor.edit(list.fields);
    if (client_sent_for && down.listener().head.appends_address()) {
      append_address(list.fields, down.forwarded_address(), tools.arena);
    }
  }
  TraceId trace;
  if ((tokens & token_bit(Token::XAmznTraceId)) == 0) {
    char* text = tools.arena.allocate(TraceIds::kRootBytes);
    trace = tools.trace_ids.write_root(tools.unix_seconds, text);
    const Field field{"x-amzn-trace-id", {text, TraceIds::kRootBytes}, 0, Token::XAmznTraceId, false, true};
    list.fields.push_back(field);
  }
  http::HeaderRun* prefix = known == nullptr ? nullptr : known->to.get();
  return {{prefix, list.fields, down.forwarded(client_sent_for)},
          invalid ? editor.fate_of_invalid_names() : TargetHead::InvalidNames::None, trace};
}

}  // namespace weir::proxy
