#include "proxy/rebalancer.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace weir::proxy {
namespace {

using std::chrono::seconds;

TimePoint at_s(int s) { return TimePoint(seconds(1000 + s)); }
Handle<Exchange> exchange(uint32_t index) { return {index, 1}; }

TEST(StreamTracks, ChoosesTheQuietestOfTheOldestThatAreOldEnough) {
  StreamTracks tracks;
  TrackList list;
  std::map<uint32_t, TimePoint> active;
  for (uint32_t i = 0; i < 5; ++i) {
    tracks.add(list, exchange(i), at_s(static_cast<int>(i) * 10));
    active[i] = at_s(100 - static_cast<int>(i));
  }
  auto activity = [&](Handle<Exchange> e) { return active[e.index]; };  // max(): may not be moved
  auto choose = [&](int now) {
    StreamTrack* t = tracks.resolve(tracks.choose(list, at_s(now), seconds(30), activity));
    return t == nullptr ? -1 : static_cast<int>(t->exchange.index);
  };
  EXPECT_EQ(choose(29), -1);
  EXPECT_EQ(choose(30), 0);
  EXPECT_EQ(choose(55), 2);
  active[1] = at_s(1);
  EXPECT_EQ(choose(55), 1);
  active[1] = TimePoint::max();
  EXPECT_EQ(choose(55), 2);
}

TEST(StreamTracks, RemovesFromTheMiddleAndBothEnds) {
  StreamTracks tracks;
  TrackList list;
  std::vector<TrackHandle> handles;
  for (uint32_t i = 0; i < 3; ++i) handles.push_back(tracks.add(list, exchange(i), at_s(0)));
  auto first = [&] {
    StreamTrack* t = tracks.resolve(tracks.choose(list, at_s(9), seconds(0), [](auto) { return TimePoint{}; }));
    return t == nullptr ? -1 : static_cast<int>(t->exchange.index);
  };
  tracks.remove(list, handles[1]);
  tracks.remove(list, handles[1]);  // stale: nothing happens
  tracks.remove(list, handles[0]);
  EXPECT_EQ(first(), 2);
  tracks.remove(list, handles[2]);
  EXPECT_EQ(first(), -1);
  EXPECT_EQ(list.last, UINT32_MAX);
}

TEST(Rebalancer, TakesFromTheMostLoadedTargetUntilTheGroupIsEven) {
  std::vector<StreamLoad> loads{{30, 30}, {20, 20}, {0, 0}};
  EXPECT_EQ(streams_to_move(loads), 16u);  // down to the mean, which is 17 rounded up
  int moves = 0;
  for (int from; (from = target_to_relieve(loads)) >= 0; ++moves) {
    auto& source = loads[static_cast<size_t>(from)];
    --source.own, --source.total;
    ++loads[2].own, ++loads[2].total;
  }
  EXPECT_EQ(moves, 16);
  EXPECT_EQ(loads[0].total, 17u);
  EXPECT_EQ(loads[2].total, 16u);
}

TEST(Rebalancer, MovesOnlyThisWorkersPartOfTheSurplus) {
  std::vector<StreamLoad> loads{{10, 40}, {0, 0}};
  EXPECT_EQ(streams_to_move(loads), 5u);
  loads = {{0, 40}, {1, 1}};
  EXPECT_EQ(streams_to_move(loads), 0u);
  EXPECT_EQ(target_to_relieve(loads), -1);  // the surplus is another worker's
  EXPECT_EQ(streams_to_move({}), 0u);
}

TEST(Rebalancer, LeavesSmallDifferencesAlone) {
  EXPECT_EQ(target_to_relieve(std::vector<StreamLoad>{{2, 2}, {1, 1}}), -1);
  EXPECT_EQ(target_to_relieve(std::vector<StreamLoad>{{5, 5}, {5, 5}}), -1);
  EXPECT_EQ(target_to_relieve(std::vector<StreamLoad>{{2, 2}, {0, 0}}), 0);
}

}  // namespace
}  // namespace weir::proxy
