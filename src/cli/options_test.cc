#include "cli/options.h"

#include <gtest/gtest.h>

namespace weir::cli {
namespace {

std::expected<Options, UsageError> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "weir");
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

TEST(Options, UpTakesParametersPortsAndAName) {
  auto options = parse({"up", "a/b/template.yaml", "--parameters", "A=1", "B=x=y", "--map", "443=8443", "--detach",
                        "--output", "json", "--state-dir", "/s"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->command, Options::Command::Up);
  EXPECT_EQ(options->up.stack_name, "b");
  EXPECT_EQ(options->up.parameters, (std::map<std::string, std::string>{{"A", "1"}, {"B", "x=y"}}));
  EXPECT_EQ(options->up.port_map, (std::map<int, int>{{443, 8443}}));
  EXPECT_TRUE(options->up.detach);
  EXPECT_TRUE(options->common.json);
  EXPECT_EQ(options->common.state_dir, "/s");
}

TEST(Options, NameAStackAfterItsTemplate) {
  EXPECT_EQ(stack_name_of("/x/chat/template.yaml"), "chat");
  EXPECT_EQ(stack_name_of("/x/my app.json"), "my-app");
  EXPECT_EQ(stack_name_of("/x/1st/template.yml"), "stack-1st");
}

TEST(Options, RefuseWhatDoesNotParse) {
  struct Case {
    std::vector<const char*> arguments;
    const char* message;
  };
  const Case cases[] = {
      {{"up"}, "template is required"},
      {{"up", "t", "--map", "443"}, "--map 443: give LISTENER=LOCAL"},
      {{"up", "t", "--map", "443=99999"}, "--map 443=99999"},
      {{"up", "t", "--parameters", "=1"}, "--parameters =1: give NAME=VALUE"},
      {{"up", "t", "--detach", "--foreground"}, "excludes"},
      {{"down"}, "name the stack"},
      {{"nonsense"}, "nonsense"},
      {{"serve", "--port", "70000"}, "70000"},
  };
  for (const auto& c : cases) {
    auto options = parse(c.arguments);
    ASSERT_FALSE(options) << c.message;
    EXPECT_NE(options.error().message.find(c.message), std::string::npos) << options.error().message;
  }
}

TEST(Options, LeaveTheArgumentsOfTheBalancerAlone) {
  auto options = parse({"lb", "--whatever"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->command, Options::Command::Lb);
}

TEST(Options, PrintHelpWithoutACommand) {
  auto options = parse({});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->command, Options::Command::Help);
  EXPECT_NE(options->help.find("weir"), std::string::npos);
  EXPECT_EQ(parse({"ca", "--output", "file"})->ca.path_only, true);
}

}  // namespace
}  // namespace weir::cli
