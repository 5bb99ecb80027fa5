#include "proxy/outlier.h"

#include <gtest/gtest.h>

namespace weir::proxy {
namespace {

using std::chrono::seconds;

TimePoint at_s(int s) { return TimePoint(seconds(100000 + s)); }

model::TargetGroup group_of(int targets, uint32_t percent = 34) {
  model::TargetGroup group;
  group.arn = "g";
  group.outlier.enabled = true;
  group.outlier.base_ejection_ms = 30000;
  group.outlier.ejected_percent_max = percent;
  for (int i = 0; i < targets; ++i) group.targets.emplace_back().address = "10.0.0." + std::to_string(i);
  return group;
}
TargetName name(int i) { return {"g", "10.0.0." + std::to_string(i), 0}; }

TEST(Outlier, IsEjectedForTheBaseTimeAndComesBack) {
  OutlierJudge judge;
  judge.apply(group_of(3));
  auto ejection = judge.failing(name(0), at_s(0));
  ASSERT_TRUE(ejection.has_value());
  EXPECT_EQ(ejection->time, seconds(30));
  EXPECT_TRUE(judge.ejected(name(0)));
  EXPECT_FALSE(judge.failing(name(0), at_s(1)).has_value());
  EXPECT_EQ(judge.next(), at_s(30));
  EXPECT_TRUE(judge.returning(at_s(29)).empty());
  EXPECT_EQ(judge.returning(at_s(30)), std::vector{name(0)});
  EXPECT_FALSE(judge.ejected(name(0)));
  EXPECT_EQ(judge.next(), std::nullopt);
}

TEST(Outlier, StaysOutLongerEachTimeAndTenTimesAsLongAtMost) {
  OutlierJudge judge;
  judge.apply(group_of(3));
  int now = 0;
  for (int i = 1; i <= 12; ++i) {
    auto ejection = judge.failing(name(0), at_s(now));
    ASSERT_TRUE(ejection.has_value()) << i;
    EXPECT_EQ(ejection->time, seconds(30 * std::min(i, 10))) << i;
    now += 30 * std::min(i, 10);
    judge.returning(at_s(now));
    ++now;
  }
}

TEST(Outlier, IsForgottenAfterAsLongATimeInAsOut) {
  OutlierJudge judge;
  judge.apply(group_of(3));
  judge.failing(name(0), at_s(0));
  judge.returning(at_s(30));
  EXPECT_EQ(judge.failing(name(0), at_s(59))->in_a_row, 2u);
  judge.returning(at_s(119));
  EXPECT_EQ(judge.failing(name(0), at_s(180))->in_a_row, 1u);
}

TEST(Outlier, LimitsTheShareOfAGroupThatIsOut) {
  OutlierJudge judge;
  judge.apply(group_of(10, 34));
  int out = 0;
  for (int i = 0; i < 10; ++i) out += judge.failing(name(i), at_s(i)).has_value();
  EXPECT_EQ(out, 3);
  judge.apply(group_of(2, 1));
  EXPECT_EQ(judge.failing(name(0), at_s(9)).has_value(), false);  // it is out already
}

TEST(Outlier, OneMayAlwaysGoAndOneAlwaysStays) {
  OutlierJudge judge;
  judge.apply(group_of(2, 1));
  EXPECT_TRUE(judge.failing(name(0), at_s(0)).has_value());
  EXPECT_FALSE(judge.failing(name(1), at_s(0)).has_value());
  judge.apply(group_of(2, 100));
  EXPECT_FALSE(judge.failing(name(1), at_s(1)).has_value());
  OutlierJudge lone;
  lone.apply(group_of(1, 100));
  EXPECT_FALSE(lone.failing(name(0), at_s(0)).has_value());
}

TEST(Outlier, IsReleasedWhenTheGroupTurnsItOffAndForgottenWithItsTarget) {
  OutlierJudge judge;
  judge.apply(group_of(3));
  judge.failing(name(0), at_s(0));
  model::TargetGroup off = group_of(3);
  off.outlier.enabled = false;
  EXPECT_EQ(judge.apply(off), std::vector{name(0)});
  EXPECT_FALSE(judge.failing(name(0), at_s(1)).has_value());
  judge.apply(group_of(3));
  judge.failing(name(2), at_s(2));
  judge.apply(group_of(2));
  EXPECT_EQ(judge.next(), std::nullopt);
  EXPECT_FALSE(judge.failing(name(2), at_s(3)).has_value());
}

}  // namespace
}  // namespace weir::proxy
