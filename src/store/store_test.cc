#include "store/store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace weir::store {
namespace {

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    char name[] = "/tmp/weir-store-XXXXXX";
    folder_ = mkdtemp(name);
    path_ = folder_ + "/weir.db";
  }
  ~StoreTest() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Store> open() {
    auto store = Store::open(path_);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
  }

  std::string folder_;
  std::string path_;
};

TEST_F(StoreTest, KeepsDocumentsAndVersionsAcrossReopening) {
  {
    auto store = open();
    ASSERT_TRUE(store->put("ecs.task", "b", R"({"x":1})"));
    ASSERT_TRUE(store->put("ecs.task", "a", R"({"x":2})"));
    ASSERT_TRUE(store->put("ecs.task", "b", R"({"x":3})"));
    ASSERT_TRUE(store->put("ecs.task", "c", R"({})"));
    ASSERT_TRUE(store->erase("ecs.task", "c"));
  }
  auto store = open();
  auto all = store->list("ecs.task");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].id, "a");
  EXPECT_EQ(all[1].body, R"({"x":3})");
  EXPECT_EQ(all[1].version, 2);
  EXPECT_FALSE(store->get("ecs.task", "c"));
  EXPECT_FALSE(store->get("ecs.service", "a"));
}

TEST_F(StoreTest, FindsDocumentsByATopLevelTextField) {
  auto store = open();
  ASSERT_TRUE(store->put("k", "1", R"({"group":"service:a"})"));
  ASSERT_TRUE(store->put("k", "2", R"({"group":"service:b"})"));
  ASSERT_TRUE(store->put("k", "3", R"({"deep":{"group":"service:a"}})"));
  ASSERT_TRUE(store->put("k", "0", R"({"group":"service:a"})"));
  auto found = store->list_where("k", "group", "service:a");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].id, "0");
  EXPECT_EQ(found[1].id, "1");
  EXPECT_TRUE(store->list_where("k", "group", "").empty());
}

TEST_F(StoreTest, CountsFromOneAndNeverTwice) {
  {
    auto store = open();
    EXPECT_EQ(*store->next_number("td/chat"), 1);
    EXPECT_EQ(*store->next_number("td/chat"), 2);
    EXPECT_EQ(*store->next_number("td/other"), 1);
  }
  EXPECT_EQ(*open()->next_number("td/chat"), 3);
}

TEST_F(StoreTest, RollsBackWhenTheBodyFails) {
  auto store = open();
  int told = 0;
  store->watch([&](auto, auto) { ++told; });
  auto result = store->transaction([&]() -> Result<void> {
    WEIR_TRY(store->put("k", "1", "{}"));
    EXPECT_TRUE(store->get("k", "1"));
    return fail("no");
  });
  EXPECT_FALSE(result);
  EXPECT_EQ(result.error().message, "no");
  EXPECT_FALSE(store->get("k", "1"));
  EXPECT_EQ(told, 0);
}

TEST_F(StoreTest, RollsBackWhenTheBodyThrowsAndStaysUsable) {
  auto store = open();
  EXPECT_THROW((void)store->transaction([&]() -> Result<void> {
    WEIR_TRY(store->put("k", "1", "{}"));
    throw std::runtime_error("bad");
  }),
               std::runtime_error);
  EXPECT_FALSE(store->get("k", "1"));
  ASSERT_TRUE(store->put("k", "1", "{}"));
  EXPECT_TRUE(store->get("k", "1"));
}

TEST_F(StoreTest, TellsEachChangedDocumentOnceAfterTheCommitInOrder) {
  auto store = open();
  std::vector<std::string> told;
  bool in_body = false;
  store->watch([&](std::string_view kind, std::string_view id) {
    EXPECT_FALSE(in_body);
    told.push_back(std::string(kind) + "/" + std::string(id));
  });
  ASSERT_TRUE(store->transaction([&]() -> Result<void> {
    in_body = true;
    WEIR_TRY(store->put("k", "2", R"({"n":1})"));
    WEIR_TRY(store->put("k", "1", "{}"));
    WEIR_TRY(store->put("k", "2", R"({"n":2})"));
    in_body = false;
    return {};
  }));
  EXPECT_EQ(told, (std::vector<std::string>{"k/2", "k/1"}));
  told.clear();
  ASSERT_TRUE(store->put("k", "1", "{}"));  // equal: no change
  ASSERT_TRUE(store->erase("k", "9"));      // absent: no change
  EXPECT_TRUE(told.empty());
  EXPECT_EQ(store->get("k", "1")->version, 1);
}

TEST_F(StoreTest, AWatchMayWriteAndIsToldOfItAfterwards) {
  auto store = open();
  std::vector<std::string> told;
  store->watch([&](auto, std::string_view id) {
    told.emplace_back(id);
    if (id == "1") {
      EXPECT_TRUE(store->put("k", "3", "{}"));
    }
  });
  ASSERT_TRUE(store->transaction([&]() -> Result<void> {
    WEIR_TRY(store->put("k", "1", "{}"));
    return store->put("k", "2", "{}");
  }));
  EXPECT_EQ(told, (std::vector<std::string>{"1", "2", "3"}));
}

TEST_F(StoreTest, RefusesAFileOfANewerSchema) {
  open();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "PRAGMA user_version = 99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  auto store = Store::open(path_);
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("schema 99"), std::string::npos);
}

TEST_F(StoreTest, SaysWhyAFileCannotBeOpened) {
  auto store = Store::open(folder_ + "/absent/weir.db");
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("No such file"), std::string::npos);
}

TEST_F(StoreTest, IsReadableByItsOwnerAlone) {
  open();
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(StoreTest, AWriteToABrokenDatabaseIsAnErrorAndAppliesNothing) {
  auto store = open();
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "CREATE TRIGGER t BEFORE INSERT ON documents WHEN NEW.id = 'bad'"
                             " BEGIN SELECT RAISE(ABORT, 'broken'); END", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  auto result = store->transaction([&]() -> Result<void> {
    WEIR_TRY(store->put("k", "good", "{}"));
    EXPECT_FALSE(store->put("k", "bad", "{}"));
    return {};  // the error is dropped: the commit must still be refused
  });
  EXPECT_FALSE(result);
  EXPECT_FALSE(store->get("k", "good"));
}

// A child writes numbered documents and acknowledges each through a pipe; it is killed in the middle.
TEST_F(StoreTest, LosesNothingAcknowledgedWhenKilledWhileWriting) {
  open();
  for (int round = 0; round < 3; ++round) {
    int acknowledged[2];
    ASSERT_EQ(pipe(acknowledged), 0);
    std::string kind = "round" + std::to_string(round);
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = Store::open(path_);
      for (int i = 0;; ++i) {
        auto both = (*store)->transaction([&]() -> Result<void> {
          WEIR_TRY((*store)->put(kind, "a" + std::to_string(i), "{}"));
          return (*store)->put(kind, "b" + std::to_string(i), "{}");
        });
        if (!both || write(acknowledged[1], &i, sizeof i) != sizeof i) _exit(1);
      }
    }
    close(acknowledged[1]);
    int last = -1;
    for (int n = 0; n < 40; ++n) ASSERT_EQ(read(acknowledged[0], &last, sizeof last), ssize_t{sizeof last});
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    while (read(acknowledged[0], &last, sizeof last) == ssize_t{sizeof last}) {
    }
    close(acknowledged[0]);
    auto store = open();
    for (int i = 0; i <= last; ++i) ASSERT_TRUE(store->get(kind, "a" + std::to_string(i))) << i;
    EXPECT_EQ(store->list(kind).size() % 2, 0u);  // never half a transaction
  }
}

}  // namespace
}  // namespace weir::store
