#include "proxy/turn_pacer.h"

#include <gtest/gtest.h>

#include <vector>

namespace weir::proxy {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Turns of `frames_per_turn` frames, one each `interval`, spread in turn over `streams` streams that stay open.
Duration gap_after(TurnPacer& pacer, size_t streams, int frames_per_turn, Duration interval, Duration time) {
  static TimePoint now = TimePoint{} + std::chrono::hours(1);
  std::vector<TimePoint> last(streams);
  size_t next = 0;
  for (TimePoint end = now + time; now < end; now += interval) {
    for (int i = 0; i < frames_per_turn; ++i) {
      pacer.note_frame(last[next]);
      last[next] = now;
      next = (next + 1) % streams;
    }
    pacer.turn_end(now, streams);
  }
  return pacer.gap();
}

TEST(TurnPacer, LetsFramesCollectWhenManyStreamsAreBusyInShallowTurns) {
  TurnPacer pacer;
  Duration gap = gap_after(pacer, 320, 2, microseconds(10), milliseconds(50));
  EXPECT_GE(gap, microseconds(100));
  EXPECT_LE(gap, TurnPacer::kGapMax);
}

TEST(TurnPacer, NeverDelaysALoneStreamHoweverFastItIs) {
  TurnPacer pacer;
  EXPECT_EQ(gap_after(pacer, 1, 1, microseconds(15), milliseconds(50)), Duration::zero());
}

TEST(TurnPacer, NeverDelaysAFewStreams) {
  TurnPacer pacer;
  EXPECT_EQ(gap_after(pacer, 10, 1, microseconds(5), milliseconds(50)), Duration::zero());
}

TEST(TurnPacer, CountsShortCallsOneAfterTheOtherAsOneStream) {
  TurnPacer pacer;
  TimePoint now = TimePoint{} + std::chrono::hours(1);
  for (int i = 0; i < 10000; ++i, now += microseconds(30)) {
    pacer.note_frame({});  // each call is a new stream
    pacer.turn_end(now, 1);
  }
  EXPECT_EQ(pacer.gap(), Duration::zero());
}

TEST(TurnPacer, IgnoresStreamsThatAreOpenButSilent) {
  TurnPacer pacer;
  // A thousand streams, each with one frame a second.
  EXPECT_EQ(gap_after(pacer, 1000, 1, milliseconds(1), milliseconds(500)), Duration::zero());
}

TEST(TurnPacer, LeavesDeepTurnsAlone) {
  TurnPacer pacer;
  EXPECT_EQ(gap_after(pacer, 320, 200, microseconds(500), milliseconds(50)), Duration::zero());
}

TEST(TurnPacer, EndsTheGapWhenTheStreamsFallSilent) {
  TurnPacer pacer;
  ASSERT_GT(gap_after(pacer, 320, 2, microseconds(10), milliseconds(50)), Duration::zero());
  EXPECT_EQ(gap_after(pacer, 1, 1, microseconds(50), milliseconds(10)), Duration::zero());
}

}  // namespace
}  // namespace weir::proxy
