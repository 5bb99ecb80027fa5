#include "api/wire/http_server.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "api/dispatcher.h"
#include "api/wire/front.h"
#include "net/message_socket.h"

namespace weir::api {
namespace {

// A server on a loopback port with a thread that runs its loop; the test talks to it with plain sockets.
class HttpServerTest : public ::testing::Test {
 protected:
  void start(HttpLimits limits) {
    dispatcher_.add("weir", "Echo", [](const nlohmann::json& input) { return input; });
    dispatcher_.add("weir", "Fail", [](const nlohmann::json&) -> nlohmann::json {
      throw ApiError{"SomeCode", "some message", 409};
    });
    dispatcher_.add_deferred("weir", "Later", [this](const nlohmann::json& input, Dispatcher::Done done) {
      if (input.contains("bad")) throw ApiError{"SomeCode", "some message", 409};
      loop_->post([input, done = std::move(done)]() mutable { done(input); });
    });
    int fd = *net::listen_tcp("127.0.0.1", 0);
    sockaddr_in address{};
    socklen_t size = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = address.sin_port;
    server_ = std::make_unique<HttpServer>(*loop_, limits, [this](const HttpRequest& request, HttpServer::Respond r) {
      front_.handle(request, std::move(r));
    });
    server_->serve(fd, false);
    thread_ = std::thread([this] { loop_->run(); });
  }
  void TearDown() override {
    loop_->stop();
    if (thread_.joinable()) thread_.join();
    server_.reset();
  }
  int connect_client() {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = port_;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    timeval limit{10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
  }
  // Sends and reads until the server closes.
  std::string talk(const std::string& bytes, bool half_close = true) {
    int fd = connect_client();
    send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (half_close) shutdown(fd, SHUT_WR);
    std::string answer;
    char buffer[4096];
    ssize_t got = 0;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0) answer.append(buffer, static_cast<size_t>(got));
    EXPECT_EQ(got < 0 && errno == EAGAIN, false) << "the server did not close";
    close(fd);
    return answer;
  }
  static std::string post(const std::string& target, const std::string& body, const std::string& more = "") {
    return "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Amz-Target: " + target + "\r\n" + more +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static constexpr const char* kClose = "Connection: close\r\n";

  SystemClock clock_;
  std::unique_ptr<net::Loop> loop_ = net::make_epoll_loop(clock_);
  Dispatcher dispatcher_;
  Random random_{1};
  Front front_{dispatcher_, random_, {}, [] { return std::string("weir_streams 3\n"); }};
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
  uint16_t port_ = 0;
};

TEST_F(HttpServerTest, AnswersOperationsAndTheirErrorsInJson) {
  start({});
  std::string answer = talk(post("Weir.Echo", R"({"a":1})", kClose), false);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n{\"a\":1}")) << answer;
  answer = talk(post("Weir.Fail", "{}", kClose), false);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 409 ")) << answer;
  EXPECT_TRUE(answer.ends_with(R"({"__type":"SomeCode","message":"some message"})")) << answer;
  EXPECT_NE(talk(post("Weir.Nope", "{}", kClose), false).find("UnknownOperationException"), std::string::npos);
  EXPECT_NE(talk(post("Weir.Echo", "[1", kClose), false).find("SerializationException"), std::string::npos);
}

TEST_F(HttpServerTest, AnswersOperationsThatAskElsewhereFirst) {
  start({});
  std::string answer = talk(post("Weir.Later", R"({"a":1})", kClose), false);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n{\"a\":1}")) << answer;
  answer = talk(post("Weir.Later", R"({"bad":1})", kClose), false);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 409 ")) << answer;
}

TEST_F(HttpServerTest, ServesMetricsToScrapersOfThisMachine) {
  start({});
  std::string answer = talk("GET /metrics HTTP/1.1\r\nHost: localhost:4566\r\nConnection: close\r\n\r\n", false);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << answer;
  EXPECT_NE(answer.find("text/plain; version=0.0.4"), std::string::npos) << answer;
  EXPECT_TRUE(answer.ends_with("weir_streams 3\n")) << answer;
  answer = talk("GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", false);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 403 ")) << answer;
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  start({});
  std::string requests;
  for (int i = 0; i < 300; ++i) requests += post("Weir.Echo", "{\"n\":" + std::to_string(i) + "}");
  requests += post("Weir.Echo", R"({"n":"last"})", kClose);
  std::string answers = talk(requests, false);
  size_t at = 0;
  for (int i = 0; i < 300; ++i) {
    at = answers.find("{\"n\":" + std::to_string(i) + "}", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_TRUE(answers.ends_with(R"({"n":"last"})"));
}

TEST_F(HttpServerTest, RefusesGarbageAndWhatIsTooLarge) {
  start({.header_bytes = 1024, .body_bytes = 4096});
  EXPECT_TRUE(talk("\x16\x03\x01garbage\r\n\r\n", false).starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(talk("POST / HTTP/1.1\r\nX: " + std::string(2000, 'x') + "\r\n\r\n", false).starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(talk("POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n", false).starts_with("HTTP/1.1 413 "));
}

TEST_F(HttpServerTest, EndsClientsThatAreTooSlow) {
  start({.request_time = std::chrono::milliseconds(50), .idle_time = std::chrono::milliseconds(50)});
  EXPECT_EQ(talk("POST / HTTP/1.1\r\nHost: 127", false), "");
  EXPECT_EQ(talk("", false), "");
}

TEST_F(HttpServerTest, RefusesWebPagesOfOtherOrigins) {
  start({});
  std::string foreign = post("Weir.Echo", "{}", "Origin: https://evil.example\r\nConnection: close\r\n");
  EXPECT_TRUE(talk(foreign, false).starts_with("HTTP/1.1 403 "));
  std::string rebound = "POST / HTTP/1.1\r\nHost: evil.example:4566\r\nX-Amz-Target: Weir.Echo\r\nConnection: close\r\n"
                        "Content-Length: 2\r\n\r\n{}";
  EXPECT_TRUE(talk(rebound, false).starts_with("HTTP/1.1 403 "));
}

TEST(Front, KnowsNamesOfThisMachine) {
  for (const char* host : {"localhost", "localhost:4566", "127.0.0.1:4566", "127.0.0.9", "x.localhost", "[::1]:1"}) {
    EXPECT_TRUE(is_local_host(host)) << host;
  }
  for (const char* host : {"", "example.com", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"}) {
    EXPECT_FALSE(is_local_host(host)) << host;
  }
}

}  // namespace
}  // namespace weir::api
