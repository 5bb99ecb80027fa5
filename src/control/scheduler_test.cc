#include "control/scheduler.h"

#include <gtest/gtest.h>

namespace weir::control {
namespace {

TaskView task(const std::string& arn, bool primary, const char* state, const std::string& zone = "a") {
  TaskView view;
  view.arn = arn;
  view.zone = zone;
  view.primary = primary;
  view.wanted = true;
  std::string s = state;
  view.starting = s == "starting";
  view.running = !view.starting;
  view.healthy = s == "healthy";
  view.unhealthy = s == "unhealthy";
  return view;
}

ServiceView wanting(int64_t desired) {
  ServiceView view;
  view.desired = desired;
  return view;
}

TEST(Scheduler, StartsTheWholeCountWithinTheMaximum) {
  EXPECT_EQ(plan_service(wanting(4)).start, 4);
  ServiceView throttled = wanting(4);
  throttled.may_start = false;
  EXPECT_EQ(plan_service(throttled).start, 0);
  // floor(3 × 125 %) = 3: no room beside three old tasks, and none may be stopped at 100 %.
  ServiceView tight;
  tight.desired = 3;
  tight.maximum_percent = 125;
  for (const char* arn : {"1", "2", "3"}) tight.tasks.push_back(task(arn, false, "healthy"));
  Plan plan = plan_service(tight);
  EXPECT_EQ(plan.start, 0);
  EXPECT_TRUE(plan.stop.empty());
}

TEST(Scheduler, StopsOldTasksOnlyAsFarAsTheMinimumAllows) {
  ServiceView view;
  view.desired = 4;
  view.minimum_percent = 50;
  for (const char* arn : {"1", "2", "3", "4"}) view.tasks.push_back(task(arn, false, "healthy"));
  EXPECT_EQ(plan_service(view).stop.size(), 2u);
  view.minimum_percent = 100;
  EXPECT_EQ(plan_service(view).stop.size(), 0u);
  view.tasks.push_back(task("5", true, "healthy"));
  EXPECT_EQ(plan_service(view).stop.size(), 1u);
  view.tasks.push_back(task("0", false, "starting"));  // an old one that serves nobody costs nothing
  EXPECT_EQ(plan_service(view).stop.at(0).arn, "0");
  EXPECT_EQ(plan_service(view).stop.size(), 2u);
}

TEST(Scheduler, ScalesInFromTheFullestZone) {
  ServiceView view = wanting(2);
  view.tasks = {task("1", true, "healthy", "a"), task("2", true, "healthy", "b"), task("3", true, "healthy", "b")};
  Plan plan = plan_service(view);
  ASSERT_EQ(plan.stop.size(), 1u);
  EXPECT_NE(plan.stop[0].arn, "1");
  EXPECT_FALSE(plan.steady);
}

TEST(Scheduler, ReplacesUnhealthyTasksStartFirst) {
  ServiceView view = wanting(2);
  view.tasks = {task("1", true, "healthy"), task("2", true, "unhealthy")};
  Plan plan = plan_service(view);
  EXPECT_EQ(plan.start, 1);
  EXPECT_EQ(plan.replaced, 1);
  EXPECT_TRUE(plan.stop.empty());
  view.tasks.push_back(task("3", true, "starting"));
  EXPECT_EQ(plan_service(view).start, 0);
  EXPECT_TRUE(plan_service(view).stop.empty());
  view.tasks[2] = task("3", true, "healthy");
  ASSERT_EQ(plan_service(view).stop.size(), 1u);
  EXPECT_EQ(plan_service(view).stop[0].arn, "2");
  EXPECT_TRUE(plan_service(view).stop[0].was_unhealthy);
}

TEST(Scheduler, WithoutRoomStopsOneUnhealthyTaskFirst) {
  ServiceView view = wanting(2);
  view.minimum_percent = 0;
  view.maximum_percent = 100;
  view.tasks = {task("1", true, "unhealthy"), task("2", true, "unhealthy")};
  EXPECT_EQ(plan_service(view).start, 0);
  EXPECT_EQ(plan_service(view).stop.size(), 1u);
}

TEST(Scheduler, IsSteadyWithExactlyTheHealthyTasksOfThePrimary) {
  ServiceView view = wanting(1);
  view.tasks = {task("1", true, "healthy")};
  EXPECT_TRUE(plan_service(view).steady);
  view.tasks[0].healthy = false;
  EXPECT_FALSE(plan_service(view).steady);
  EXPECT_TRUE(plan_service(wanting(0)).steady);
}

}  // namespace
}  // namespace weir::control
