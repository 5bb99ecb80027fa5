#include "http/packed_fields.h"

#include <gtest/gtest.h>

#include <string>

#include "base/random.h"

namespace weir::http {
namespace {

TEST(PackedFields, ComeBackAsTheyWere) {
  Random random(7);
  BufferPool pool;
  Buffer packed(pool);
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back(std::string(random.below(300), static_cast<char>('a' + i % 26)));
  std::vector<Field> fields;
  for (int i = 0; i < 100; ++i) {
    Field f{texts[2 * i], texts[2 * i + 1], static_cast<uint32_t>(random.next()), Token::Other, i % 3 == 0};
    if (i % 5 == 0) f.token = Token::GrpcStatus;
    fields.push_back(f);
  }
  pack_fields(std::span(fields).first(40), packed);
  pack_fields(std::span(fields).subspan(40), packed);  // appends
  std::vector<Field> out;
  unpack_fields(packed.bytes(), out);
  ASSERT_EQ(out.size(), fields.size());
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(out[i].name, fields[i].name);
    EXPECT_EQ(out[i].value, fields[i].value);
    EXPECT_EQ(out[i].hash, fields[i].hash);
    EXPECT_EQ(out[i].token, fields[i].token);
    EXPECT_EQ(out[i].never_indexed, fields[i].never_indexed);
    EXPECT_TRUE(out[i].name.empty() || (out[i].name.data() >= reinterpret_cast<char*>(packed.data())));
  }
}

TEST(PackedFields, NothingPacksToNothing) {
  BufferPool pool;
  Buffer packed(pool);
  pack_fields({}, packed);
  EXPECT_TRUE(packed.empty());
  std::vector<Field> out;
  unpack_fields(packed.bytes(), out);
  EXPECT_TRUE(out.empty());
}

}  // namespace
}  // namespace weir::http
