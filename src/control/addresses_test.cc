#include "control/addresses.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace weir::control {
namespace {

TEST(Cidr, IsParsedStrictly) {
  EXPECT_EQ(parse_cidr("10.0.0.0/16")->prefix, 16);
  for (const char* bad : {"", "10.0.0.0", "10.0.0.0/33", "10.0.0.1/16", "10.0.0/16", "10.0.0.0/x", "10.0.0.0/8 "}) {
    EXPECT_FALSE(parse_cidr(bad)) << bad;
  }
  EXPECT_TRUE(parse_cidr("10.0.0.0/16")->overlaps(*parse_cidr("10.0.3.0/24")));
  EXPECT_FALSE(parse_cidr("10.0.0.0/16")->overlaps(*parse_cidr("10.1.0.0/16")));
  EXPECT_EQ(format_ipv4(*parse_ipv4("10.0.255.1")), "10.0.255.1");
}

TEST(Addresses, OfASubnetAreGivenOutOnceWithoutTheReservedOnes) {
  char name[] = "/tmp/weir-addresses-XXXXXX";
  std::string folder = mkdtemp(name);
  auto store = std::move(*store::Store::open(folder + "/weir.db"));
  ASSERT_TRUE(store->put("ec2.subnet", "s", R"({"CidrBlock":"10.0.1.0/28"})"));
  EXPECT_EQ(available_addresses(*store, "s"), 11);
  for (int i = 0; i < 11; ++i) {
    auto address = allocate_address(*store, "s");
    ASSERT_TRUE(address);
    EXPECT_EQ(*address, "10.0.1." + std::to_string(4 + i));
    ASSERT_TRUE(store->put("ec2.network-interface", *address,
                           R"({"SubnetId":"s","PrivateIpAddress":")" + *address + R"("})"));
  }
  EXPECT_FALSE(allocate_address(*store, "s"));
  EXPECT_EQ(available_addresses(*store, "s"), 0);
  ASSERT_TRUE(store->erase("ec2.network-interface", "10.0.1.7"));
  EXPECT_EQ(*allocate_address(*store, "s"), "10.0.1.7");
  EXPECT_FALSE(allocate_address(*store, "absent"));
  store.reset();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace weir::control
