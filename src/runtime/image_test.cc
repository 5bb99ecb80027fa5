#include <gtest/gtest.h>

#include "runtime/bundle.h"
#include "runtime/image_name.h"
#include "runtime/signals.h"

#include <signal.h>

namespace weir::runtime {
namespace {

std::string spelling(const std::string& name) {
  Result<ImageName> parsed = parse_image_name(name);
  return parsed ? parsed->text() : "refused";
}

TEST(ImageName, EqualNamesHaveOneSpelling) {
  for (const char* name : {"chat", "chat:latest", "library/chat", "docker.io/library/chat",
                           "docker.io/chat:latest", "index.docker.io/library/chat"}) {
    EXPECT_EQ(spelling(name), "chat:latest") << name;
  }
  EXPECT_EQ(spelling("team/chat:v1"), "team/chat:v1");
  EXPECT_EQ(spelling("localhost/chat"), "localhost/chat:latest");
  EXPECT_EQ(spelling("127.0.0.1:5000/a/b:X_1.2"), "127.0.0.1:5000/a/b:X_1.2");
  std::string digest = "sha256:" + std::string(64, 'a');
  EXPECT_EQ(spelling("host.example/a:tag@" + digest), "host.example/a@" + digest);
}

TEST(ImageName, RefusesWhatIsNone) {
  for (const char* name : {"", "UPPER", "a b", "a:", "a:b c", "/a", "a/", "a//b", "a@sha256:12", "a@md5:1",
                           "../../x y", "host:5000/", "-;rm"}) {
    EXPECT_EQ(spelling(name), "refused") << name;
  }
  EXPECT_EQ(spelling(std::string(2000, 'a')), "refused");
}

TEST(ImageName, KnowsWhichRegistriesAreOnThisMachine) {
  EXPECT_TRUE(parse_image_name("localhost:5000/a")->host_is_local());
  EXPECT_TRUE(parse_image_name("127.0.0.9:5000/a")->host_is_local());
  EXPECT_FALSE(parse_image_name("127.evil.example/a")->host_is_local());
  EXPECT_FALSE(parse_image_name("a")->host_is_local());
}

TEST(SignalNumber, ReadsNamesNumbersAndRealTimeSignals) {
  EXPECT_EQ(*signal_number("SIGTERM"), SIGTERM);
  EXPECT_EQ(*signal_number("QUIT"), SIGQUIT);
  EXPECT_EQ(*signal_number("15"), 15);
  EXPECT_EQ(*signal_number("SIGRTMIN+3"), SIGRTMIN + 3);
  EXPECT_EQ(*signal_number("RTMAX-1"), SIGRTMAX - 1);
  for (const char* name : {"", "SIG", "0", "99", "-1", "SIGNOPE", "RTMIN+99", "SIGTERM "}) {
    EXPECT_FALSE(signal_number(name)) << name;
  }
}

using Words = std::vector<std::string>;

TEST(MergedCommand, FollowsDocker) {
  Image image;
  image.entry_point = {"/entry"};
  image.command = {"default"};
  ContainerSpec spec;
  EXPECT_EQ(*merged_command(spec, image), (Words{"/entry", "default"}));
  spec.command = {"own"};
  EXPECT_EQ(*merged_command(spec, image), (Words{"/entry", "own"}));
  spec.entry_point = {"/other"};
  EXPECT_EQ(*merged_command(spec, image), (Words{"/other", "own"}));
  spec.command.clear();
  EXPECT_EQ(*merged_command(spec, image), Words{"/other"})
      << "the image's command belongs to its entry point";
  EXPECT_FALSE(merged_command({}, {}));
}

TEST(MergedEnvironment, TheTaskWinsOverTheImageAndTheImageOverTheDefaults) {
  Image image;
  image.environment = {"PATH=/image", "A=image", "B=image", "broken"};
  ContainerSpec spec;
  spec.environment = {{"B", "task"}, {"C", "x=y"}, {"A2", ""}};
  EXPECT_EQ(merged_environment(spec, image, {}, "h"),
            (Words{"PATH=/image", "HOSTNAME=h", "HOME=/", "A=image", "B=task", "C=x=y", "A2="}));
}

}  // namespace
}  // namespace weir::runtime
