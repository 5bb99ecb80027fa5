#include "proxy/response_head.h"

#include <algorithm>

namespace weir::proxy {

using http::Field;

void ResponseRules::compile(const model::Listener& listener, http::HeaderRuns& runs) {
  names_.clear();
  added_ = {};
  rewritten_ = {};
  std::vector<Field> fields;
  for (const model::NameValue& set : listener.response_headers) {
    names_.push_back(set.name);
    fields.push_back({set.name, set.value, http::field_hash(set.name, set.value), http::token_of(set.name), false});
  }
  if (!fields.empty()) added_ = runs.intern(fields);
}

bool ResponseRules::replaces(const Field& field) const { return std::ranges::find(names_, field.name) != names_.end(); }

http::h2::OutgoingHeaders ResponseRules::apply(http::HeaderList& list, http::HeaderRuns& runs) {
  auto replaced = [this](const Field& f) { return replaces(f); };
  http::HeaderRun* prefix = nullptr;
  if (list.run != nullptr) {
    Rewritten& known = rewritten_[list.run->hash() % kRewritten];
    if (known.from.get() != list.run) {
      http::FieldList fields(list.run->fields());
      fields.erase_if(replaced);
      known = {http::HeaderRunRef(list.run), runs.intern(fields)};
    }
    prefix = known.to.get();
  }
  list.fields.erase_if(replaced);
  return {prefix, list.fields, added_.get()};
}

}  // namespace weir::proxy
