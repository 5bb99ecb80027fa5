#include "proxy/load_index.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace weir::proxy {
namespace {

TEST(LoadIndex, GivesTheLeastCountAtOrBehindTheStartGoingRound) {
  LoadIndex index;
  index.resize(100);
  EXPECT_EQ(index.least_from(99), 99u);
  for (size_t i = 0; i < 100; ++i) index.set(i, 5);
  index.set(40, 2);
  index.set(70, 2);
  EXPECT_EQ(index.least_from(0), 40u);
  EXPECT_EQ(index.least_from(41), 70u);
  EXPECT_EQ(index.least_from(71), 40u);
}

TEST(LoadIndex, AgreesWithAPlainSearchForEverySizeAndChange) {
  Random random(3);
  for (size_t size : {1u, 2u, 31u, 32u, 33u, 64u, 65u, 1000u}) {
    LoadIndex index;
    index.resize(size);
    std::vector<uint32_t> plain(size, 0);
    for (int step = 0; step < 2000; ++step) {
      size_t at = random.below(size);
      uint32_t load = random.below(20) == 0 ? UINT32_MAX : static_cast<uint32_t>(random.below(6));
      index.set(at, plain[at] = load);
      size_t from = random.below(size);
      uint32_t least = *std::min_element(plain.begin(), plain.end());
      size_t expected = from;
      while (plain[expected] != least) expected = (expected + 1) % size;
      ASSERT_EQ(index.least_from(from), expected) << size << " step " << step;
    }
  }
}

}  // namespace
}  // namespace weir::proxy
