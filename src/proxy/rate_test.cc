#include "proxy/rate.h"

#include <gtest/gtest.h>

namespace weir::proxy {
namespace {

TEST(Rate, TheAverageFollowsTheUnitsPerSecond) {
  RateMeter meter;
  for (int second = 0; second < 60; ++second) {
    for (int i = 0; i < 100; ++i) meter.note(100);
    meter.tick(1);
  }
  EXPECT_NEAR(meter.load(), 100, 0.1);
  for (int second = 0; second < 5; ++second) meter.tick(1);
  EXPECT_NEAR(meter.load(), 33, 1);  // 0.8^5
}

TEST(Rate, EveryFourKiBytesAreOneMoreUnit) {
  RateMeter meter;
  meter.note(0);
  meter.note(4095);
  meter.note(16384);
  EXPECT_EQ(meter.units, 1u + 1u + 5u);
}

TEST(Rate, WhatFlowedSinceTheTickCountsAsItWillInTheAverage) {
  RateMeter meter;
  for (int i = 0; i < 50; ++i) meter.note(1);
  double before = meter.load();
  meter.tick(1);
  EXPECT_NEAR(meter.load(), before, 0.001);
}

TEST(Rate, AStreamIsExpectedToBringTheMeanOfItsGroupUntilTheAverageKnows) {
  RatePlacement long_lived;
  long_lived.tick(1, 1000, 20);
  EXPECT_NEAR(long_lived.expected_per_s, 50, 0.01);
  RateMeter meter;
  meter.place(long_lived.expected_per_s);
  EXPECT_NEAR(meter.load(), 50, 0.01);
  for (int second = 0; second < 30; ++second) {
    for (int i = 0; i < 50; ++i) meter.note(1);
    meter.tick(1);
  }
  EXPECT_NEAR(meter.load(), 50, 0.5);
}

TEST(Rate, ShortStreamsShareTheRateOfAllThatComeAndGo) {
  RatePlacement unary;
  for (int second = 0; second < 60; ++second) {
    unary.placed = 1000;
    unary.tick(1, 2000, 4);
  }
  EXPECT_NEAR(unary.expected_per_s, 0.4, 0.01);  // two units in five seconds
  RatePlacement idle;
  idle.tick(1, 0, 100);
  EXPECT_EQ(idle.expected_per_s, RatePlacement::kLeastExpected);
}

}  // namespace
}  // namespace weir::proxy
