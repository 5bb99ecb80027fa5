#include "net/message_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

namespace weir::net {
namespace {

std::string frame_of(std::string_view body) {
  auto length = static_cast<uint32_t>(body.size());
  std::string frame(reinterpret_cast<const char*>(&length), sizeof length);
  return frame.append(body);
}

ino_t inode_of(int fd) {
  struct stat info {};
  return fstat(fd, &info) == 0 ? info.st_ino : 0;
}

class MessageSocketTest : public testing::Test {
 protected:
  MessageSocketTest() : loop_(make_epoll_loop(clock_)), timer_([this] { loop_->stop(); }) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    left_fd_ = fds[0];
    right_ = std::make_unique<MessageSocket>(*loop_, fds[1], 1u << 20, events_of(got_));
    EXPECT_EQ(pipe2(pipe_, O_CLOEXEC), 0);
  }
  ~MessageSocketTest() override {
    for (auto& fds : got_.fds) {
      for (int fd : fds) close(fd);
    }
    if (left_ == nullptr && left_fd_ >= 0) close(left_fd_);
    close(pipe_[0]);
    close(pipe_[1]);
  }

  struct Got {
    std::vector<std::string> frames;
    std::vector<std::vector<int>> fds;
    std::string closed;
  };
  MessageSocket::Events events_of(Got& got) {
    return {[this, &got](std::span<const uint8_t> frame, std::vector<int> fds) {
              got.frames.emplace_back(reinterpret_cast<const char*>(frame.data()), frame.size());
              got.fds.push_back(std::move(fds));
              if (got.frames.size() == wanted_) loop_->stop();
            },
            [this, &got](const std::string& why) {
              got.closed = why;
              loop_->stop();
            }};
  }
  MessageSocket& left() {
    if (left_ == nullptr) left_ = std::make_unique<MessageSocket>(*loop_, left_fd_, 1u << 20, events_of(sent_back_));
    return *left_;
  }
  // Until `frames` came, or the peer closed, or five seconds passed.
  void run_until(size_t frames) {
    wanted_ = frames;
    loop_->arm(timer_, clock_.now() + std::chrono::seconds(5));
    loop_->run();
  }
  void write_raw(std::string_view bytes) {
    EXPECT_EQ(send(left_fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }

  SystemClock clock_;
  std::unique_ptr<Loop> loop_;
  Timer timer_;
  int left_fd_ = -1;
  int pipe_[2] = {-1, -1};
  size_t wanted_ = 0;
  Got got_, sent_back_;
  std::unique_ptr<MessageSocket> left_, right_;
};

TEST_F(MessageSocketTest, HandsOutFramesWholeAndInOrder) {
  left().send(frame_of("one"));
  left().send(frame_of(""));
  left().send(frame_of("three"));
  run_until(3);
  EXPECT_EQ(got_.frames, (std::vector<std::string>{"one", "", "three"}));
}

TEST_F(MessageSocketTest, DescriptorsArriveWithTheirOwnFrameEvenWhenOthersWereSentJustBefore) {
  left().send(frame_of("without"));
  left().send(frame_of("with"), {pipe_[0], pipe_[1]});
  left().send(frame_of("without again"));
  left().send(frame_of("with one"), {pipe_[1]});
  run_until(4);
  ASSERT_EQ(got_.frames.size(), 4u);
  EXPECT_EQ(got_.fds[0].size(), 0u);
  ASSERT_EQ(got_.fds[1].size(), 2u);
  EXPECT_EQ(inode_of(got_.fds[1][0]), inode_of(pipe_[0]));
  EXPECT_EQ(inode_of(got_.fds[1][1]), inode_of(pipe_[1]));
  EXPECT_TRUE(fcntl(got_.fds[1][0], F_GETFD) & FD_CLOEXEC);
  EXPECT_EQ(got_.fds[2].size(), 0u);
  EXPECT_EQ(got_.fds[3].size(), 1u);
}

TEST_F(MessageSocketTest, CarriesTheDescriptorsOfFiftyListenersOnFiveAddresses) {
  left().send(frame_of("many"), std::vector<int>(250, pipe_[0]));
  run_until(1);
  ASSERT_EQ(got_.fds.size(), 1u);
  EXPECT_EQ(got_.fds[0].size(), 250u);
}

TEST_F(MessageSocketTest, AFrameMayComeByteByByte) {
  std::string bytes = frame_of("slow") + frame_of("er");
  std::function<void()> next;
  size_t at = 0;
  next = [&] {
    write_raw(bytes.substr(at++, 1));
    if (at < bytes.size()) loop_->post([&] { next(); });
  };
  loop_->post([&] { next(); });
  run_until(2);
  EXPECT_EQ(got_.frames, (std::vector<std::string>{"slow", "er"}));
}

TEST_F(MessageSocketTest, AFrameLargerThanTheSocketBufferArrivesWholeAndUnsentBytesFallToZero) {
  std::string big(900 << 10, 'x');
  left().send(frame_of(big));
  EXPECT_GT(left().unsent_bytes(), 0u);
  run_until(1);
  ASSERT_EQ(got_.frames.size(), 1u);
  EXPECT_EQ(got_.frames[0], big);
  EXPECT_EQ(left().unsent_bytes(), 0u);
}

TEST_F(MessageSocketTest, AFrameOverTheLimitClosesTheSocketBeforeItsBytesAreHeld) {
  uint32_t length = (1u << 20) + 1;
  write_raw({reinterpret_cast<const char*>(&length), sizeof length});
  run_until(1);
  EXPECT_NE(got_.closed, "");
  EXPECT_TRUE(right_->closed());
  EXPECT_TRUE(got_.frames.empty());
}

TEST_F(MessageSocketTest, FramesSentBeforeThePeerClosedAreStillDelivered) {
  write_raw(frame_of("last words"));
  close(left_fd_);
  left_fd_ = -1;
  run_until(2);
  EXPECT_EQ(got_.frames, std::vector<std::string>{"last words"});
  EXPECT_NE(got_.closed, "");
}

TEST_F(MessageSocketTest, SendingToAPeerThatIsGoneTellsOnceAndDropsTheRest) {
  close(left_fd_);
  left_fd_ = -1;
  right_->send(frame_of("nobody"));
  right_->send(frame_of("hears"));
  if (!right_->closed()) run_until(1);
  EXPECT_TRUE(right_->closed());
  right_->send(frame_of("this"));
  EXPECT_EQ(got_.frames.size(), 0u);
}

TEST(UnixSocket, IsPrivateToItsUserReplacesAStaleFileAndKnowsThePeersUser) {
  std::string folder = (std::filesystem::temp_directory_path() / "weir_unix_XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::string path = folder + "/lb.sock";
  auto first = listen_unix(path);
  ASSERT_TRUE(first);
  close(*first);  // the file stays, as after a crash
  auto second = listen_unix(path);
  ASSERT_TRUE(second) << second.error().message;
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  auto client = connect_unix(path);
  ASSERT_TRUE(client);
  int server = accept(*second, nullptr, nullptr);
  auto uid = peer_uid(server);
  ASSERT_TRUE(uid);
  EXPECT_EQ(*uid, geteuid());
  EXPECT_FALSE(connect_unix(std::string(200, 'x')));
  for (int fd : {*second, *client, server}) close(fd);
  std::filesystem::remove_all(folder);
}

TEST(ListenTcp, SaysWhichAddressIsTakenAndRefusesWhatIsNoAddress) {
  auto fd = listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(fd);
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  ASSERT_EQ(getsockname(*fd, reinterpret_cast<sockaddr*>(&bound), &size), 0);
  uint16_t port = ntohs(reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  auto again = listen_tcp("127.0.0.1", port);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, EADDRINUSE);
  EXPECT_NE(again.error().message.find("127.0.0.1:" + std::to_string(port)), std::string::npos);
  EXPECT_FALSE(listen_tcp("localhost", 0));
  close(*fd);
}

}  // namespace
}  // namespace weir::net
