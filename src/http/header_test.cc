#include "http/header.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "http/known_names.h"

namespace weir::http {
namespace {

TEST(KnownNames, EveryTokenIsFoundByItsName) {
  for (size_t i = 0; i < kTokenCount; ++i) {
    auto token = static_cast<Token>(i);
    EXPECT_FALSE(token_name(token).empty());
    EXPECT_EQ(token_of(token_name(token)), token) << token_name(token);
  }
}

TEST(KnownNames, EveryNameIsListedOnceAndFound) {
  std::set<std::string_view> names;
  for (size_t id = 1; id < kKnownNameCount; ++id) {
    EXPECT_TRUE(names.insert(kKnownNames[id].name).second) << kKnownNames[id].name;
    EXPECT_EQ(find_known_name(kKnownNames[id].name, bytes_hash(kKnownNames[id].name)), id);
    EXPECT_EQ(token_of(kKnownNames[id].name) == Token::Other, id > kTokenCount);
  }
}

TEST(KnownNames, ANameThatDiffersByOneByteIsUnknown) {
  for (size_t id = 1; id < kKnownNameCount; ++id) {
    std::string name(kKnownNames[id].name);
    for (size_t i = 0; i < name.size(); ++i) {
      std::string other = name;
      other[i] = '!';
      EXPECT_EQ(token_of(other), Token::Other);
      EXPECT_EQ(find_known_name(other, bytes_hash(name)), 0) << "the bytes decide, not the hash";
    }
    EXPECT_EQ(token_of(name + "x"), Token::Other);
  }
  EXPECT_EQ(token_of(""), Token::Other);
}

TEST(FieldHash, DependsOnEveryByteAndOnTheBorder) {
  std::set<uint32_t> hashes;
  for (size_t size = 0; size < 40; ++size) {
    std::string value(size, 'a');
    EXPECT_TRUE(hashes.insert(field_hash("n", value)).second) << size;
    for (size_t i = 0; i < size; ++i) {
      std::string other = value;
      other[i] = 'b';
      EXPECT_TRUE(hashes.insert(field_hash("n", other)).second) << size << " " << i;
    }
  }
  EXPECT_NE(field_hash("ab", "c"), field_hash("a", "bc"));
  EXPECT_NE(field_hash("a", "b"), field_hash("b", "a"));
}

TEST(FieldHash, IsTheSameAtCompileTimeAndAtRunTime) {
  static constexpr std::string_view kText = "abcdefghijklmnopqrstuvwxyz";
  static constexpr uint32_t kHashes[] = {bytes_hash(kText.substr(0, 0)), bytes_hash(kText.substr(0, 3)),
                                         bytes_hash(kText.substr(0, 7)), bytes_hash(kText.substr(0, 8)),
                                         bytes_hash(kText.substr(0, 13)), bytes_hash(kText)};
  const size_t sizes[] = {0, 3, 7, 8, 13, 26};
  for (size_t i = 0; i < 6; ++i) {
    std::string text(kText.substr(0, sizes[i]));
    EXPECT_EQ(bytes_hash(text), kHashes[i]);
  }
}

TEST(FieldHash, IsNeverZero) {
  // step() maps 0 to 0, the one input whose combination would be 0 without the rule.
  EXPECT_NE(combined_hash(0, 0), 0u);
}

}  // namespace
}  // namespace weir::http
