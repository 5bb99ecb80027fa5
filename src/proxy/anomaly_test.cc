#include "proxy/anomaly.h"

#include <gtest/gtest.h>

namespace weir::proxy {
namespace {

using Result = AnomalyDetector::Result;

struct Targets {
  std::map<TargetName, AnomalyDetector::Sample> samples;
  AnomalyDetector detector;
  bool mitigate = true;
  explicit Targets(int count) {
    for (int i = 0; i < count; ++i) samples[name(i)].healthy = true;
    review();
  }
  static TargetName name(int i) { return {"g", "10.0.0." + std::to_string(i), 80}; }
  void traffic(int i, uint64_t answered, uint64_t failures) {
    samples[name(i)].answered += answered;
    samples[name(i)].failures += failures;
  }
  std::map<TargetName, AnomalyDetector::Verdict> review() { return detector.review("g", mitigate, samples); }
  AnomalyDetector::Verdict of(int i) { return detector.verdict(name(i)); }
};

TEST(Anomaly, OfATargetThatFailsMoreThanItsPeersTakesItsShareDownToFivePercent) {
  Targets t(3);
  uint32_t shares[] = {500, 250, 125, 62, 50, 50};
  for (uint32_t share : shares) {
    t.traffic(0, 100, 40);
    t.traffic(1, 100, 1);
    t.traffic(2, 100, 0);
    t.review();
    EXPECT_EQ(t.of(0).result, Result::Anomalous);
    EXPECT_EQ(t.of(0).share, share);
    EXPECT_EQ(t.of(1), (AnomalyDetector::Verdict{Result::Normal, 1000}));
  }
}

TEST(Anomaly, GivesTheShareBackByDoublingWhenTheTargetDoesWell) {
  Targets t(3);
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 3; ++j) t.traffic(j, 100, j == 0 ? 50 : 0);
    t.review();
  }
  EXPECT_EQ(t.of(0).share, 50u);
  for (uint32_t share : {100, 200, 400, 800, 1000}) {
    t.traffic(0, 5, 0);
    t.traffic(1, 100, 0);
    EXPECT_EQ(t.review().count(t.name(0)), 1u);
    EXPECT_EQ(t.of(0).result, Result::Normal);
    EXPECT_EQ(t.of(0).share, share);
  }
}

TEST(Anomaly, IsNotWhatAllTargetsDo) {
  Targets t(4);
  for (int i = 0; i < 4; ++i) t.traffic(i, 100, 50);
  t.review();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(t.of(i).result, Result::Normal) << i;
}

TEST(Anomaly, NeedsThreeHealthyTargetsAndThreeFailures) {
  Targets few(3);
  few.samples[few.name(2)].healthy = false;
  few.traffic(0, 10, 10);
  few.review();
  EXPECT_EQ(few.of(0).result, Result::None);
  EXPECT_EQ(few.of(0).share, 1000u);
  Targets rare(3);
  rare.traffic(0, 2, 2);
  rare.review();
  EXPECT_EQ(rare.of(0).result, Result::Normal);
}

TEST(Anomaly, IsShownButNotMitigatedWhenMitigationIsOff) {
  Targets t(3);
  t.mitigate = false;
  t.traffic(0, 100, 90);
  t.traffic(1, 100, 0);
  t.review();
  EXPECT_EQ(t.of(0), (AnomalyDetector::Verdict{Result::Anomalous, 1000}));
}

TEST(Anomaly, MitigatesHalfOfTheTargetsAtMostTheWorstFirst) {
  Targets t(5);
  for (int i = 0; i < 3; ++i) t.traffic(i, 100, 80 + static_cast<uint64_t>(i) * 5);
  for (int i = 3; i < 5; ++i) t.traffic(i, 2000, 0);
  t.review();
  EXPECT_EQ(t.of(0), (AnomalyDetector::Verdict{Result::Anomalous, 1000}));
  EXPECT_EQ(t.of(1).share, 500u);
  EXPECT_EQ(t.of(2).share, 500u);
}

TEST(Anomaly, ForgetsTargetsThatLeftAndDoesNotJudgeByWhatWasBeforeTheyCame) {
  Targets t(3);
  t.traffic(0, 100, 90);
  t.samples.erase(t.name(2));
  t.samples[t.name(7)] = {1000, 1000, true};
  t.review();
  EXPECT_EQ(t.of(7).result, Result::Normal);
  EXPECT_EQ(t.of(2), AnomalyDetector::Verdict{});
}

}  // namespace
}  // namespace weir::proxy
