#include "proxy/retry_policy.h"

#include <gtest/gtest.h>

namespace weir::proxy {
namespace {

using std::chrono::milliseconds;

TimePoint at_ms(int64_t ms) { return TimePoint(milliseconds(1000000 + ms)); }

int taken(RetryBudget& budget, TimePoint now) {
  int count = 0;
  while (count < 100000 && budget.take(now)) ++count;
  return count;
}

TEST(RetryBudget, GivesAShareOfTheRequestsOfTheLastTenSeconds) {
  RetryBudget budget;
  budget.configure(20, 10);
  for (int i = 0; i < 5000; ++i) budget.note_request(at_ms(i));
  EXPECT_EQ(taken(budget, at_ms(5000)), 1000);
  EXPECT_EQ(taken(budget, at_ms(9000)), 0);
  EXPECT_EQ(taken(budget, at_ms(30000)), 100);  // the floor: nothing happened in the last ten seconds
}

TEST(RetryBudget, GivesTenPerSecondHoweverFewRequestsThereAre) {
  RetryBudget budget;
  budget.configure(1, RetryBudget::kFloorPerSecond);
  budget.note_request(at_ms(0));
  EXPECT_EQ(taken(budget, at_ms(1)), 100);
  EXPECT_EQ(taken(budget, at_ms(9999)), 0);
  EXPECT_EQ(taken(budget, at_ms(10001)), 100);
}

TEST(RetryBudget, OfZeroPercentGivesNothing) {
  RetryBudget budget;
  budget.configure(0, 10);
  for (int i = 0; i < 1000; ++i) budget.note_request(at_ms(0));
  EXPECT_EQ(taken(budget, at_ms(1)), 0);
}

TEST(RetryBudget, ForgetsRequestsAndRetriesSecondBySecond) {
  RetryBudget budget;
  budget.configure(50, 0);
  for (int s = 0; s < 10; ++s) {
    for (int i = 0; i < 10; ++i) budget.note_request(at_ms(s * 1000));
  }
  EXPECT_EQ(taken(budget, at_ms(9000)), 50);
  for (int i = 0; i < 10; ++i) budget.note_request(at_ms(10000));  // the first second's ten are gone
  EXPECT_EQ(taken(budget, at_ms(10000)), 0);
  for (int s = 11; s < 19; ++s) {
    for (int i = 0; i < 10; ++i) budget.note_request(at_ms(s * 1000));
    EXPECT_EQ(taken(budget, at_ms(s * 1000)), 0) << s;
  }
  EXPECT_EQ(taken(budget, at_ms(19000)), 45);  // the fifty retries of second 9 are gone, nine seconds of requests count
}

TEST(RetryPushback, WaitsForAWholeNumberAndForbidsForEverythingElse) {
  EXPECT_EQ(parse_pushback("0"), Duration(0));
  EXPECT_EQ(parse_pushback("250"), Duration(milliseconds(250)));
  for (const char* value : {"-1", "", "soon", "10ms", "99999999999", "1.5", " 1"}) {
    EXPECT_EQ(parse_pushback(value), std::nullopt) << value;
  }
}

}  // namespace
}  // namespace weir::proxy
