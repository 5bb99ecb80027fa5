#include "base/slab.h"

#include <gtest/gtest.h>

#include <memory>

namespace weir {
namespace {

TEST(Slab, ResolvesALiveHandleToItsRecord) {
  Slab<int> slab;
  Handle<int> h = slab.emplace(7);
  ASSERT_NE(slab.resolve(h), nullptr);
  EXPECT_EQ(*slab.resolve(h), 7);
}

TEST(Slab, AnswersNullForAHandleWhoseSlotWasReused) {
  Slab<int> slab;
  Handle<int> old = slab.emplace(1);
  slab.release(old);
  Handle<int> fresh = slab.emplace(2);
  EXPECT_EQ(fresh.index, old.index);
  EXPECT_EQ(slab.resolve(old), nullptr);
  EXPECT_EQ(*slab.resolve(fresh), 2);
}

TEST(Slab, DestroysEachRecordExactlyOnce) {
  auto counted = std::make_shared<int>(0);
  {
    Slab<std::shared_ptr<int>> slab;
    auto a = slab.emplace(counted);
    slab.emplace(counted);
    slab.release(a);
    EXPECT_EQ(counted.use_count(), 2);
  }
  EXPECT_EQ(counted.use_count(), 1);
}

TEST(Slab, KeepsAddressesWhileGrowing) {
  Slab<int> slab;
  Handle<int> first = slab.emplace(42);
  int* address = slab.resolve(first);
  for (int i = 0; i < 2000; ++i) slab.emplace(i);
  EXPECT_EQ(slab.resolve(first), address);
  EXPECT_EQ(slab.size(), 2001u);
}

}  // namespace
}  // namespace weir
