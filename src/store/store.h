// The store: typed JSON documents with versions and watches, in SQLite (WAL, synchronous=FULL).
//
// One thread uses a Store (the control thread). A transaction is durable when commit() returns;
// kill -9 at any moment loses nothing that was committed. Documents are kept as JSON text here so that
// this header stays light; `kind` and `id` together are the key. The kinds and their fields are listed
// in docs/store-documents.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct sqlite3;

namespace weir::store {

struct Document {
  std::string kind;       // "ecs.service"
  std::string id;         // the AWS id or ARN; unique within the kind
  int64_t version = 0;    // grows by one with each change of this document
  std::string body;       // JSON object
};

class Store {
 public:
  // Opens or creates the database file; a newer schema than ours is an error.
  static Result<std::unique_ptr<Store>> open(const std::string& path);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Reads see the writes of the open transaction.
  std::optional<Document> get(std::string_view kind, std::string_view id);
  std::vector<Document> list(std::string_view kind);  // ordered by id
  // Documents of `kind` whose body has `field` (top level, text) equal to `value`, ordered by id.
  std::vector<Document> list_where(std::string_view kind, std::string_view field, std::string_view value);

  // Writes. Outside a transaction each is its own. put() inserts or replaces; a body equal to the
  // stored one changes nothing and wakes nobody. A failing disk is an Error and nothing is applied.
  Result<void> put(std::string_view kind, std::string_view id, std::string body);
  Result<void> erase(std::string_view kind, std::string_view id);
  // Next value of a named counter, from 1 (task definition revisions).
  Result<int64_t> next_number(std::string_view counter);

  // Runs `body` in one transaction: committed when it returns a value, rolled back when it returns an
  // Error or throws (the exception goes on). Watches fire after the commit. Does not nest.
  Result<void> transaction(const std::function<Result<void>()>& body);

  // Calls `on_change(kind, id)` once per changed document after each commit, in order of change.
  // Level-triggered users keep only the key. Watches live as long as the store.
  using Watch = std::function<void(std::string_view kind, std::string_view id)>;
  void watch(Watch on_change);

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::store
