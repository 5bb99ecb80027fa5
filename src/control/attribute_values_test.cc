#include "control/attribute_values.h"

#include <gtest/gtest.h>

namespace weir::control {
namespace {

TEST(AttributeValues, TakeGrpcCodesByNameAndNumber) {
  EXPECT_EQ(parse_grpc_codes(""), 0u);
  EXPECT_EQ(parse_grpc_codes("UNAVAILABLE, 8"), 1u << 14 | 1u << 8);
  for (const char* bad : {"OK", "0", "17", "unavailable", "14,", ",14", "14;13", "-1"}) {
    EXPECT_FALSE(parse_grpc_codes(bad)) << bad;
  }
}

TEST(AttributeValues, TakeMetadata) {
  auto pairs = parse_metadata("x-key=a b=c, y.z_1=");
  ASSERT_TRUE(pairs);
  ASSERT_EQ(pairs->size(), 2u);
  EXPECT_EQ((*pairs)[0].name, "x-key");
  EXPECT_EQ((*pairs)[0].value, "a b=c");
  EXPECT_EQ((*pairs)[1].value, "");
  for (const char* bad : {"x", "X=1", "grpc-timeout=1S", ":path=/", "=1", "a=1,", "a=\n"}) {
    EXPECT_FALSE(parse_metadata(bad)) << bad;
  }
  std::string many = "a=1";
  for (int i = 0; i < 16; ++i) many += ",a=1";
  EXPECT_FALSE(parse_metadata(many));
}

}  // namespace
}  // namespace weir::control
