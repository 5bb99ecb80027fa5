#include "store/store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <utility>

#include "base/assert.h"
#include "base/log.h"

namespace weir::store {

namespace {
constexpr int kSchemaVersion = 1;
constexpr int kBusyTimeoutMs = 5000;
constexpr const char* kSchema =
    "CREATE TABLE documents (kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL,"
    " PRIMARY KEY (kind, id)) WITHOUT ROWID;"
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

std::string_view text_of(sqlite3_stmt* statement, int column) {
  auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  return {bytes, static_cast<size_t>(sqlite3_column_bytes(statement, column))};
}

void bind_text(sqlite3_stmt* statement, int index, std::string_view value) {
  // A null pointer would bind NULL; an empty view may hold one.
  const char* bytes = value.data() != nullptr ? value.data() : "";
  WEIR_ASSERT(sqlite3_bind_text(statement, index, bytes, static_cast<int>(value.size()), SQLITE_STATIC) == SQLITE_OK);
}

// Resets a prepared statement at the end of its use, so that it holds no lock and no borrowed text.
class Use {
 public:
  explicit Use(sqlite3_stmt* statement) : statement_(statement) {}
  ~Use() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  sqlite3_stmt* statement_;
};
}  // namespace

struct Store::Impl {
  using Key = std::pair<std::string, std::string>;

  sqlite3* db = nullptr;
  sqlite3_stmt* get = nullptr;
  sqlite3_stmt* list = nullptr;
  sqlite3_stmt* list_where = nullptr;
  sqlite3_stmt* put = nullptr;
  sqlite3_stmt* erase = nullptr;
  sqlite3_stmt* next_number = nullptr;
  bool in_transaction = false;
  bool write_failed = false;      // a write of the open transaction failed: it must not commit
  std::vector<Key> changed;       // in order of first change
  std::set<Key> changed_keys;
  std::vector<Watch> watches;
  std::vector<Key> to_tell;       // committed, not yet told
  bool telling = false;

  ~Impl() {
    for (sqlite3_stmt* s : {get, list, list_where, put, erase, next_number}) sqlite3_finalize(s);
    sqlite3_close(db);
  }

  std::unexpected<Error> error(const std::string& what) const {
    return fail("store: " + what + ": " + sqlite3_errmsg(db), sqlite3_extended_errcode(db));
  }
  Result<void> execute(const char* sql) {
    if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error(sql);
    return {};
  }
  Result<void> prepare(const char* sql, sqlite3_stmt*& statement) {
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
      return error(sql);
    }
    return {};
  }
  Result<void> open(const std::string& path);
  Result<void> prepare_all();
  Result<void> write(std::string_view kind, std::string_view id, sqlite3_stmt* statement);
  // An answer "absent" from a broken disk would be taken for a deletion, so a failing read ends the process.
  void must_read(int code) const {
    if (code == SQLITE_ROW || code == SQLITE_DONE) return;
    log_error(std::string("store: read failed: ") + sqlite3_errmsg(db));
    WEIR_ASSERT(false);
  }
  void note(std::string_view kind, std::string_view id) {
    Key key{kind, id};
    if (changed_keys.insert(key).second) changed.push_back(std::move(key));
  }
  void tell();
};

Result<void> Store::Impl::open(const std::string& path) {
  // Created here so that it is never readable by others, whatever the umask.
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return fail_errno("open " + path, errno);
  close(fd);
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
  if (sqlite3_open_v2(path.c_str(), &db, flags, nullptr) != SQLITE_OK) return error("open " + path);
  sqlite3_busy_timeout(db, kBusyTimeoutMs);
  WEIR_TRY(execute("PRAGMA journal_mode = WAL"));
  WEIR_TRY(execute("PRAGMA synchronous = FULL"));
  sqlite3_stmt* statement = nullptr;
  WEIR_TRY(prepare("PRAGMA user_version", statement));
  int code = sqlite3_step(statement);
  int version = code == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
  sqlite3_finalize(statement);
  if (version < 0) return error("read the schema version of " + path);
  if (version > kSchemaVersion) {
    return fail(path + " has schema " + std::to_string(version) + ", this program knows " +
                std::to_string(kSchemaVersion) + ": use the newer program that wrote it");
  }
  if (version == 0) WEIR_TRY(execute((std::string("BEGIN IMMEDIATE;") + kSchema + "COMMIT;").c_str()));
  return prepare_all();
}

Result<void> Store::Impl::prepare_all() {
  WEIR_TRY(prepare("SELECT version, body FROM documents WHERE kind = ?1 AND id = ?2", get));
  WEIR_TRY(prepare("SELECT id, version, body FROM documents WHERE kind = ?1 ORDER BY id", list));
  WEIR_TRY(prepare("SELECT id, version, body FROM documents WHERE kind = ?1 AND json_extract(body, ?2) = ?3"
                   " ORDER BY id", list_where));
  WEIR_TRY(prepare("INSERT INTO documents (kind, id, version, body) VALUES (?1, ?2, 1, ?3)"
                   " ON CONFLICT (kind, id) DO UPDATE SET version = version + 1, body = excluded.body"
                   " WHERE body <> excluded.body", put));
  WEIR_TRY(prepare("DELETE FROM documents WHERE kind = ?1 AND id = ?2", erase));
  return prepare("INSERT INTO counters (name, value) VALUES (?1, 1)"
                 " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value", next_number);
}

Result<void> Store::Impl::write(std::string_view kind, std::string_view id, sqlite3_stmt* statement) {
  if (sqlite3_step(statement) != SQLITE_DONE) {
    write_failed = true;
    return error("write " + std::string(kind) + " " + std::string(id));
  }
  if (sqlite3_changes(db) > 0) note(kind, id);
  return {};
}

void Store::Impl::tell() {
  if (telling) return;  // a watch wrote: the outer call tells it in order
  telling = true;
  for (size_t i = 0; i < to_tell.size(); ++i) {
    Key key = to_tell[i];
    for (size_t w = 0; w < watches.size(); ++w) watches[w](key.first, key.second);
  }
  to_tell.clear();
  telling = false;
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(const std::string& path) {
  auto impl = std::make_unique<Impl>();
  WEIR_TRY(impl->open(path));
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

std::optional<Document> Store::get(std::string_view kind, std::string_view id) {
  Use use(impl_->get);
  bind_text(impl_->get, 1, kind);
  bind_text(impl_->get, 2, id);
  int code = sqlite3_step(impl_->get);
  impl_->must_read(code);
  if (code == SQLITE_DONE) return std::nullopt;
  return Document{std::string(kind), std::string(id), sqlite3_column_int64(impl_->get, 0),
                  std::string(text_of(impl_->get, 1))};
}

std::vector<Document> Store::list(std::string_view kind) {
  Use use(impl_->list);
  bind_text(impl_->list, 1, kind);
  std::vector<Document> out;
  int code;
  while ((code = sqlite3_step(impl_->list)) == SQLITE_ROW) {
    out.push_back({std::string(kind), std::string(text_of(impl_->list, 0)), sqlite3_column_int64(impl_->list, 1),
                   std::string(text_of(impl_->list, 2))});
  }
  impl_->must_read(code);
  return out;
}

std::vector<Document> Store::list_where(std::string_view kind, std::string_view field, std::string_view value) {
  Use use(impl_->list_where);
  std::string path = "$.\"" + std::string(field) + "\"";
  bind_text(impl_->list_where, 1, kind);
  bind_text(impl_->list_where, 2, path);
  bind_text(impl_->list_where, 3, value);
  std::vector<Document> out;
  int code;
  while ((code = sqlite3_step(impl_->list_where)) == SQLITE_ROW) {
    out.push_back({std::string(kind), std::string(text_of(impl_->list_where, 0)),
                   sqlite3_column_int64(impl_->list_where, 1), std::string(text_of(impl_->list_where, 2))});
  }
  impl_->must_read(code);
  return out;
}

Result<void> Store::put(std::string_view kind, std::string_view id, std::string body) {
  if (!impl_->in_transaction) {
    return transaction([&] { return put(kind, id, std::move(body)); });
  }
  Use use(impl_->put);
  bind_text(impl_->put, 1, kind);
  bind_text(impl_->put, 2, id);
  bind_text(impl_->put, 3, body);
  return impl_->write(kind, id, impl_->put);
}

Result<void> Store::erase(std::string_view kind, std::string_view id) {
  if (!impl_->in_transaction) {
    return transaction([&] { return erase(kind, id); });
  }
  Use use(impl_->erase);
  bind_text(impl_->erase, 1, kind);
  bind_text(impl_->erase, 2, id);
  return impl_->write(kind, id, impl_->erase);
}

Result<int64_t> Store::next_number(std::string_view counter) {
  if (!impl_->in_transaction) {
    int64_t number = 0;
    WEIR_TRY(transaction([&]() -> Result<void> {
      WEIR_TRY_ASSIGN(number, next_number(counter));
      return {};
    }));
    return number;
  }
  Use use(impl_->next_number);
  bind_text(impl_->next_number, 1, counter);
  if (sqlite3_step(impl_->next_number) != SQLITE_ROW) {
    impl_->write_failed = true;
    return impl_->error("count " + std::string(counter));
  }
  int64_t number = sqlite3_column_int64(impl_->next_number, 0);
  WEIR_ASSERT(sqlite3_step(impl_->next_number) == SQLITE_DONE);
  return number;
}

Result<void> Store::transaction(const std::function<Result<void>()>& body) {
  WEIR_ASSERT(!impl_->in_transaction);
  WEIR_TRY(impl_->execute("BEGIN IMMEDIATE"));
  impl_->in_transaction = true;
  impl_->write_failed = false;
  auto roll_back = [this] {
    // After some failures (full disk) SQLite has rolled back by itself.
    if (sqlite3_get_autocommit(impl_->db) == 0) {
      if (auto done = impl_->execute("ROLLBACK"); !done) log_error(done.error().message);
    }
    impl_->in_transaction = false;
    impl_->changed.clear();
    impl_->changed_keys.clear();
  };
  Result<void> result;
  try {
    result = body();
  } catch (...) {
    roll_back();
    throw;
  }
  if (result && impl_->write_failed) result = fail("store: a write of this transaction failed; nothing was applied");
  if (result) result = impl_->execute("COMMIT");
  if (!result) {
    roll_back();
    return result;
  }
  impl_->in_transaction = false;
  impl_->to_tell.insert(impl_->to_tell.end(), impl_->changed.begin(), impl_->changed.end());
  impl_->changed.clear();
  impl_->changed_keys.clear();
  impl_->tell();
  return {};
}

void Store::watch(Watch on_change) { impl_->watches.push_back(std::move(on_change)); }

}  // namespace weir::store
