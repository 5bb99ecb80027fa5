#include "base/slab.h"

#include <gtest/gtest.h>

#include <memory>
#include <new>
#include <vector>

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

TEST(Slab, AnswersNullForAFreshHandleWhateverItsSlotsHaveSeen) {
  Slab<int> slab;
  EXPECT_EQ(slab.resolve({}), nullptr);
  auto only = slab.emplace(1);
  EXPECT_EQ(slab.resolve({}), nullptr);
  slab.release(only);
  EXPECT_EQ(slab.resolve({}), nullptr);
  EXPECT_FALSE(Handle<int>{}.valid());
}

TEST(Slab, FindsEveryRecordAgainAfterGrowingOverManyPages) {
  Slab<uint64_t> slab;
  std::vector<Handle<uint64_t>> handles;
  for (uint64_t i = 0; i < 200'000; ++i) handles.push_back(slab.emplace(i));
  for (uint32_t i = 0; i < handles.size(); ++i) {
    ASSERT_EQ(*slab.resolve(handles[i]), i);
    ASSERT_EQ(slab.number(handles[i].index), i);
    ASSERT_EQ(slab.numbered(i), handles[i]);
  }
  EXPECT_FALSE(slab.numbered(200'000).valid());
  slab.release(handles[7]);
  EXPECT_FALSE(slab.numbered(7).valid());
  EXPECT_EQ(slab.numbers(), 200'000u);
}

TEST(Slab, ThrowsWhenItsAddressSpaceIsUsedUp) {
  struct Big {
    Big() {}  // writes nothing
    char bytes[size_t{1} << 30];
  };
  auto slab = std::make_unique<Slab<Big>>();
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(slab->full());
    slab->emplace();
  }
  EXPECT_TRUE(slab->full());
  EXPECT_THROW(slab->emplace(), std::bad_alloc);
  EXPECT_EQ(slab->size(), 3u);
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
