#include "base/copy.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace weir {
namespace {

TEST(CopyShort, CopiesEverySizeAndTouchesNothingElse) {
  for (size_t size = 0; size <= 200; ++size) {
    std::vector<uint8_t> from(size);  // of its exact size, for the sanitizers
    std::iota(from.begin(), from.end(), uint8_t{1});
    std::vector<uint8_t> to(size + 2, 0xee);
    copy_short(to.data() + 1, from.data(), size);
    EXPECT_EQ(to.front(), 0xee) << size;
    EXPECT_EQ(to.back(), 0xee) << size;
    EXPECT_TRUE(std::equal(from.begin(), from.end(), to.begin() + 1)) << size;
  }
}

}  // namespace
}  // namespace weir
