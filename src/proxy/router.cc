#include "proxy/router.h"

#include <re2/re2.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "http/hash.h"
#include "http/header_run.h"

namespace weir::proxy {

using Field = model::Condition::Field;

namespace {

constexpr int64_t kRegexMemoryBytes = 1 << 20;

std::string_view without_port(std::string_view authority) {
  if (authority.starts_with('[')) return authority.substr(0, authority.find(']') + 1);
  return authority.substr(0, authority.find(':'));
}

// Hosts and header values ignore case, paths do not (alb.md 1.5).
std::unique_ptr<re2::RE2> compiled_regex(const std::string& text, Case letters) {
  re2::RE2::Options options;
  options.set_encoding(re2::RE2::Options::EncodingLatin1);
  options.set_case_sensitive(letters == Case::Sensitive);
  options.set_log_errors(false);
  options.set_max_mem(kRegexMemoryBytes);
  auto regex = std::make_unique<re2::RE2>(text, options);
  if (!regex->ok()) log_warning("rule condition '" + text + "' is no regular expression; it holds for nothing");
  return regex;
}

Case letters_of(Field field) {
  return field == Field::PathPattern || field == Field::Method ? Case::Sensitive : Case::Insensitive;
}

}  // namespace

// A request as conditions look at it; parts are made when they are first asked for.
struct Router::Subject {
  Subject(const RequestFacts& r, Arena& a) : request(r), arena(a) {
    host = request.head.authority;
    if (host.empty()) {
      const http::Field* field = request.headers.find(http::Token::Host);
      if (field != nullptr) host = field->value;
    }
  }
  std::string_view path() const {
    if (!path_known) {
      std::string_view whole = request.head.path;
      normal = normal_path(whole.substr(0, whole.find('?')), arena);
      path_known = true;
    }
    return normal;
  }
  const RequestFacts& request;
  Arena& arena;
  std::string_view host;  // with its port
  mutable std::string_view normal;
  mutable bool path_known = false;
};

struct Router::Condition {
  struct Query {
    bool any_key;
    Pattern key;
    Pattern value;
  };
  Field field;
  http::Token token = http::Token::Other;  // of an HttpHeader that is known
  std::string name;                        // HttpHeader, lower case
  std::vector<Pattern> patterns;
  std::vector<std::string> methods;
  std::vector<Query> queries;
  std::vector<Cidr> blocks;
  std::vector<std::unique_ptr<re2::RE2>> regexes;

  // Of the shape: decided by path, host and method alone.
  bool is_shape() const { return field == Field::PathPattern || field == Field::HostHeader || field == Field::Method; }
  bool text_matches(std::string_view text) const;
  bool query_matches(std::string_view query) const;
  bool header_matches(const http::HeaderList& headers) const;
  bool holds(const Subject& subject) const;
};

struct Router::Rule {
  std::vector<Condition> shape;
  std::vector<Condition> rest;  // cheap ones first
  RuleAction action;
  static bool all_hold(const std::vector<Condition>& conditions, const Subject& subject) {
    return std::ranges::all_of(conditions, [&](const Condition& c) { return c.holds(subject); });
  }
};

bool Router::Condition::text_matches(std::string_view text) const {
  for (const Pattern& p : patterns) {
    if (p.matches(text)) return true;
  }
  for (const auto& regex : regexes) {
    if (regex->ok() && re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *regex)) return true;
  }
  return false;
}

bool Router::Condition::query_matches(std::string_view query) const {
  while (!query.empty()) {
    size_t end = query.find('&');
    std::string_view pair = query.substr(0, end);
    query = end == std::string_view::npos ? std::string_view{} : query.substr(end + 1);
    size_t equals = pair.find('=');
    std::string_view key = pair.substr(0, equals);
    std::string_view value = equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1);
    for (const Query& q : queries) {
      if ((q.any_key || q.key.matches(key)) && q.value.matches(value)) return true;
    }
  }
  return false;
}

bool Router::Condition::header_matches(const http::HeaderList& headers) const {
  bool found = false;
  headers.for_each([&](const http::Field& f) {
    if (f.token != token || (token == http::Token::Other && f.name != name)) return;
    found = found || text_matches(f.value);
  });
  return found;
}

bool Router::Condition::holds(const Subject& s) const {
  const RequestFacts& request = s.request;
  switch (field) {
    case Field::PathPattern: return text_matches(s.path());
    case Field::HostHeader: return text_matches(without_port(s.host));
    case Field::HttpHeader: return header_matches(request.headers);
    case Field::Method: return std::ranges::find(methods, request.head.method) != methods.end();
    case Field::SourceIp:
      return std::ranges::any_of(blocks, [&](const Cidr& block) { return block.holds(request.client); });
    case Field::QueryString: {
      size_t mark = request.head.path.find('?');
      return mark != std::string_view::npos && query_matches(request.head.path.substr(mark + 1));
    }
  }
  return false;
}

Router::Router() = default;
Router::~Router() = default;

Router::Condition Router::compiled_condition(const model::Condition& from) {
  Condition c{};
  c.field = from.field;
  Case letters = letters_of(from.field);
  for (const std::string& value : from.values) {
    if (from.field == Field::Method) {
      c.methods.push_back(value);
    } else if (from.field == Field::SourceIp) {
      if (auto block = Cidr::parse(value)) c.blocks.push_back(*block);
    } else {
      c.patterns.emplace_back(value, letters);
    }
  }
  for (const model::NameValue& pair : from.query) {
    c.queries.push_back({pair.name.empty(), Pattern(pair.name, letters), Pattern(pair.value, letters)});
  }
  for (const std::string& text : from.regex_values) c.regexes.push_back(compiled_regex(text, letters));
  for (char letter : from.name) {
    c.name += letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  }
  c.token = http::token_of(c.name);
  return c;
}

RuleAction Router::compiled_action(const model::Action& from, uint32_t priority, const GroupOf& group_of) {
  RuleAction action;
  action.kind = from.kind;
  action.priority = priority;
  uint32_t sum = 0;
  for (const model::WeightedGroup& g : from.groups) {
    uint32_t weight = from.groups.size() == 1 ? 1 : g.weight;
    if (weight == 0) continue;
    sum += weight;
    action.shares.push_back({group_of(g.target_group_arn), sum});
  }
  action.status = from.status;
  action.content_type = from.content_type;
  action.body = from.body;
  return action;
}

void Router::compile(const model::Listener& listener, const GroupOf& group_of) {
  rules_.clear();
  uses_host_ = false;
  default_action_ = compiled_action(listener.default_action, 0, group_of);
  for (const model::Rule& from : listener.rules) {
    Rule rule;
    rule.action = compiled_action(from.action, from.priority, group_of);
    for (const model::Condition& condition : from.conditions) {
      Condition c = compiled_condition(condition);
      uses_host_ = uses_host_ || c.field == Field::HostHeader;
      (c.is_shape() ? rule.shape : rule.rest).push_back(std::move(c));
    }
    auto cost = [](const Condition& c) {
      return c.field == Field::SourceIp ? 0 : c.field == Field::QueryString ? 1 : 2;
    };
    std::ranges::stable_sort(rule.rest, {}, cost);
    rules_.push_back(std::move(rule));
  }
  std::ranges::stable_sort(rules_, {}, [](const Rule& r) { return r.action.priority; });
  remembered_.reset();
  remembered_runs_ = {};
  if (!rules_.empty()) remembered_ = std::make_unique<std::array<Remembered, kRemembered>>();
}

size_t Router::first_by_shape(const Subject& subject, size_t from) const {
  while (from < rules_.size() && !Rule::all_hold(rules_[from].shape, subject)) ++from;
  return from;
}

// The first rule by shape, remembered or found.
size_t Router::recall(Subject& s) {
  constexpr uint64_t kShape = http::token_bit(http::Token::Path) | http::token_bit(http::Token::Method) |
                              http::token_bit(http::Token::Authority);
  http::HeaderRun* run = s.request.headers.run;
  bool whole = run != nullptr && (run->tokens() & kShape) == kShape && !s.request.head.authority.empty();
  if (!whole) return recall_by_text(s);
  RememberedRun& known = remembered_runs_[run->hash() % kRememberedRuns];
  if (known.run.get() != run) known = {http::HeaderRunRef(run), static_cast<uint32_t>(recall_by_text(s))};
  return known.first;
}

// A path with a query comes but once: not worth a place.
size_t Router::recall_by_text(Subject& s) {
  const http::MessageHead& head = s.request.head;
  std::string_view host = uses_host_ ? s.host : std::string_view{};
  std::string_view method = head.method;
  size_t size = head.path.size() + host.size() + method.size();
  if (size > sizeof(Remembered::text) || head.path.size() > UINT8_MAX) return first_by_shape(s, 0);
  uint32_t hash = http::combined_hash(http::bytes_hash(head.path), http::bytes_hash(host));
  Remembered& r = (*remembered_)[hash % kRemembered];
  auto at = [&r](size_t from, std::string_view text) {
    return text.empty() || std::memcmp(r.text.data() + from, text.data(), text.size()) == 0;
  };
  if (r.hash == hash && r.path_size == head.path.size() && r.host_size == host.size() &&
      r.method_size == method.size() && at(0, head.path) && at(head.path.size(), host) &&
      at(head.path.size() + host.size(), method)) [[likely]] {
    return r.first;
  }
  size_t first = first_by_shape(s, 0);
  if (head.path.find('?') != std::string_view::npos) return first;
  r.hash = hash;
  r.first = static_cast<uint32_t>(first);
  r.path_size = static_cast<uint8_t>(head.path.size());
  r.host_size = static_cast<uint8_t>(host.size());
  r.method_size = static_cast<uint8_t>(method.size());
  char* to = r.text.data();
  for (std::string_view part : {head.path, host, method}) {
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    to += part.size();
  }
  return first;
}

const RuleAction& Router::evaluate(const RequestFacts& request, Arena& arena) {
  Subject subject(request, arena);
  for (size_t i = recall(subject); i < rules_.size(); i = first_by_shape(subject, i + 1)) {
    if (Rule::all_hold(rules_[i].rest, subject)) return rules_[i].action;
  }
  return default_action_;
}

Handle<Group> RuleAction::choose(Random& random) const {
  if (shares.size() == 1) return shares[0].group;
  if (shares.empty()) return {};
  uint64_t at = random.below(shares.back().up_to);
  size_t i = 0;
  while (at >= shares[i].up_to) ++i;
  return shares[i].group;
}

}  // namespace weir::proxy
