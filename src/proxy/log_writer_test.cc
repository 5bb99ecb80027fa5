// Lines of both logs, and the files they go to.
#include "proxy/log_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "proxy/connection_log.h"
#include "proxy/health_log.h"
#include "proxy/log_text.h"

namespace weir::proxy {
namespace {

std::string packed(const std::vector<std::string>& texts, uint16_t* lengths) {
  std::string out;
  for (size_t i = 0; i < texts.size(); ++i) {
    lengths[i] = static_cast<uint16_t>(texts[i].size());
    out += texts[i];
  }
  return out;
}

const LogContext kContext{"app/my-lb/50dc6c495c0c9188", 1'700'000'000'000'000'000};

struct Access {
  AccessRecord record;
  std::string texts;
};
Access access(const std::string& agent = "grpc-go/1.60") {
  Access a;
  a.record.attempts = 1;
  a.record.begin_ns = 1'500'000'000;
  a.record.end_ns = 3'750'123'000;
  a.record.sent_after_us = 1'234;
  a.record.head_after_us = 50'999;
  a.record.received_bytes = 120;
  a.record.sent_bytes = 340;
  a.record.request_messages = 2;
  a.record.response_messages = 3;
  a.record.rule_priority = 7;
  a.record.grpc_status = 0;
  a.record.elb_status = a.record.target_status = 200;
  a.record.client_port = 48160;
  a.record.listener_port = 443;
  a.record.target_port = 9000;
  a.record.is_grpc = a.record.tls = true;
  a.record.action = ActionTaken::Forward;
  a.texts = packed({"10.0.1.252", "TLS_AES_128_GCM_SHA256", "TLSv1.3", "api.example", "arn:cert", "TID_12", "arn:tg",
                    "10.0.0.66", "Root=1-2-3", "POST", "api.example", "/pkg.Svc/Method", agent, ""},
                   a.record.lengths);
  return a;
}

TEST(LogText, EscapesTheSameBytesWhereverTheyStandInATextOfAnyLength) {
  for (size_t size = 1; size <= 35; ++size) {
    for (size_t at = 0; at < size; ++at) {
      for (int c = 0; c < 256; ++c) {
        std::string text(size, 'a');
        text[at] = static_cast<char>(c);
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        char hex[8];
        std::snprintf(hex, sizeof hex, "\\x%02x", c);
        std::string json_hex = c == '"' ? "\\\"" : c == '\\' ? "\\\\" : "\\u00" + std::string(hex + 2);
        auto with = [&](const std::string& what) {
          return std::string(at, 'a') + (plain ? std::string(1, text[at]) : what) + std::string(size - at - 1, 'a');
        };
        std::string escaped, json;
        append_line(escaped, size * LogLine::kEscapedMax, [&](LogLine& line) { line.escaped(text); });
        append_line(json, size * LogLine::kEscapedMax + 2, [&](LogLine& line) { line.json_text(text); });
        ASSERT_EQ(escaped, with(hex)) << size << " " << at << " " << c;
        ASSERT_EQ(json, '"' + with(json_hex) + '"') << size << " " << at << " " << c;
      }
    }
  }
}

TEST(AccessLog, ALineHasTheFieldsOfAlbInTheirOrder) {
  Access a = access();
  std::string line;
  append_access_alb(line, a.record, a.texts.data(), kContext);
  EXPECT_EQ(line,
            "grpcs 2023-11-14T22:13:23.750123Z app/my-lb/50dc6c495c0c9188 10.0.1.252:48160 10.0.0.66:9000 0.001 0.049 "
            "0.000 200 200 120 340 \"POST https://api.example:443/pkg.Svc/Method HTTP/2.0\" \"grpc-go/1.60\" "
            "TLS_AES_128_GCM_SHA256 TLSv1.3 arn:tg \"Root=1-2-3\" \"api.example\" \"arn:cert\" 7 "
            "2023-11-14T22:13:21.500000Z \"forward\" \"-\" \"-\" \"10.0.0.66:9000\" \"200\" \"-\" \"-\" TID_12 \"-\" "
            "\"-\" \"-\"\n");
}

TEST(AccessLog, WhatDidNotHappenIsADashOrMinusOne) {
  AccessRecord r;
  r.elb_status = 503;
  r.tls = true;
  r.listener_port = 443;
  std::string texts = packed({"::1", "", "", "", "", "TID_1", "", "", "", "GET", "[::1]", "/", "", "why"}, r.lengths);
  std::string line;
  append_access_alb(line, r, texts.data(), kContext);
  EXPECT_EQ(line,
            "h2 2023-11-14T22:13:20.000000Z app/my-lb/50dc6c495c0c9188 [::1]:0 - -1 -1 -1 503 - 0 0 "
            "\"GET https://[::1]:443/ HTTP/2.0\" \"-\" - - - \"-\" \"-\" \"-\" - 2023-11-14T22:13:20.000000Z \"-\" "
            "\"-\" \"-\" \"-\" \"-\" \"-\" \"-\" TID_1 \"-\" \"-\" \"-\"\n");
}

TEST(AccessLog, ALineHasRoomForTextsOfWhichEveryByteIsEscaped) {
  AccessRecord r;
  std::vector<std::string> texts(kAccessTexts, std::string(16384, '\xff'));
  std::string bytes = packed(texts, r.lengths);
  std::string alb, json;
  append_access_alb(alb, r, bytes.data(), kContext);
  EXPECT_EQ(static_cast<size_t>(std::count(alb.begin(), alb.end(), '\\')), 16384u * 8);
  append_access_json(json, r, bytes.data(), kContext);
  EXPECT_GT(json.size(), 16384u * 6 * kAccessTexts);
  EXPECT_EQ(json.back(), '\n');
}

TEST(AccessLog, JsonTellsWhatGrpcAdds) {
  Access a = access("evil\"\\\n\xff");
  a.record.ended_by = EndedBy::Client;
  std::string line;
  append_access_json(line, a.record, a.texts.data(), kContext);
  for (const char* part :
       {"\"type\":\"grpcs\"", "\"grpc_method\":\"/pkg.Svc/Method\"", "\"grpc_status\":0", "\"ended_by\":\"client\"",
        "\"request_messages\":2", "\"response_messages\":3", "\"duration\":2.250123", "\"attempts\":1",
        "\"target_ip\":\"10.0.0.66\"", "\"user_agent\":\"evil\\\"\\\\\\u000a\\u00ff\""}) {
    EXPECT_NE(line.find(part), std::string::npos) << part << " in " << line;
  }
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

std::string health_line(const HealthEntry& entry, const HealthOutcome& outcome,
                        void (*append)(std::string&, const HealthRecord&, const char*, const LogContext&)) {
  LogRing ring;
  write_health(ring, entry, outcome);
  ring.publish();
  std::string line;
  ring.drain([&](const uint8_t* bytes) {
    HealthRecord record;
    std::memcpy(&record, bytes, sizeof record);
    append(line, record, reinterpret_cast<const char*>(bytes) + sizeof record, kContext);
  });
  return line;
}

TEST(HealthLog, ALineHasTheEightFieldsOfAlb) {
  TimePoint start = TimePoint{} + std::chrono::seconds(1);
  HealthEntry entry{true, "172.31.20.97", 80, "arn:aws:elasticloadbalancing:r:0:targetgroup/my-ips/00aa", start,
                    start + std::chrono::nanoseconds(19'584'011)};
  EXPECT_EQ(health_line(entry, {true, model::HealthReason::None, "", HealthFault::None, 12}, append_health_alb),
            "grpc 2023-11-14T22:13:21.019584Z 0.019584011 172.31.20.97:80 my-ips PASS 12 -\n");
  entry.is_grpc = false;
  entry.address = "::1";
  entry.group_arn = "static";
  EXPECT_EQ(health_line(entry, failed_check("reset", HealthFault::ConnectionReset), append_health_alb),
            "h2 2023-11-14T22:13:21.019584Z 0.019584011 [::1]:80 static FAIL - ConnectionReset\n");
  EXPECT_EQ(health_line(entry, failed_check("no \"h2\"", HealthFault::TargetError), append_health_json),
            R"({"type":"h2","time":"2023-11-14T22:13:21.019584Z","elb":"app/my-lb/50dc6c495c0c9188",)"
            R"("latency":0.019584,"target_ip":"::1","target_port":80,"target_group":"static","status":"FAIL",)"
            R"---("reason_code":"TargetError","description":"Health checks failed (no \"h2\")"})---"
            "\n");
}

TEST(ConnectionLog, ALineHasThirteenFields) {
  ConnectionRecord r;
  r.client_port = 5;
  r.listener_port = 443;
  r.handshake_ns = 12'345'678;
  std::string texts =
      packed({"10.0.0.1", "TLSv1.3", "TLS_AES_128_GCM_SHA256", "x25519", "TID_9", "a.b", ""}, r.lengths);
  std::string line;
  append_connection_alb(line, r, texts.data(), kContext);
  EXPECT_EQ(line,
            "2023-11-14T22:13:20.000000Z 10.0.0.1 5 443 TLSv1.3 TLS_AES_128_GCM_SHA256 0.012 \"-\" - - - TID_9 "
            "x25519\n");
}

class WriterTest : public testing::Test {
 protected:
  class HandClock final : public Clock {
   public:
    TimePoint now() const override { return TimePoint(std::chrono::milliseconds(ms)); }
    int64_t unix_ms() const override { return ms; }
    int64_t ms = 1'700'000'000'000;
  };
  WriterTest() {
    char name[] = "/tmp/weir-logs-XXXXXX";
    folder = mkdtemp(name);
  }
  ~WriterTest() override { std::filesystem::remove_all(folder); }
  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (const auto& f : std::filesystem::recursive_directory_iterator(folder)) {
      if (f.is_regular_file()) out.push_back(f.path().string().substr(folder.size()));
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  std::string text(const std::string& file) const {
    std::ifstream in(folder + file);
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
  }
  void add(LogFile& file, const std::string& line) {
    file.lines() += line + "\n";
    file.note_record();
  }
  std::string folder;
  HandClock clock;
  Random random{1};
};

TEST_F(WriterTest, BeginsAFileEveryFiveMinutesNamedByItsEnd) {
  LogFile file(clock, random);
  file.configure({folder, "123_elasticloadbalancing_us-east-1_app.lb.0a"}, "10.0.0.4");
  add(file, "one");
  EXPECT_EQ(file.flush(true), 0u);
  clock.ms += 60'000;
  add(file, "two");
  EXPECT_EQ(file.flush(true), 0u);
  clock.ms += 300'000;
  add(file, "three");
  EXPECT_EQ(file.flush(true), 0u);
  auto names = files();
  ASSERT_EQ(names.size(), 2u);
  std::string begin = "/2023/11/14/123_elasticloadbalancing_us-east-1_app.lb.0a_20231114T22";
  EXPECT_EQ(names[0].substr(0, begin.size() + 13), begin + "15Z_10.0.0.4_");
  EXPECT_EQ(names[1].substr(0, begin.size() + 13), begin + "20Z_10.0.0.4_");
  EXPECT_EQ(text(names[0]), "one\ntwo\n");
  EXPECT_EQ(text(names[1]), "three\n");
}

TEST_F(WriterTest, CountsWhatCannotBeWrittenAndTriesAgainLater) {
  LogFile file(clock, random);
  std::ofstream(folder + "/in-the-way") << "x";
  file.configure({folder + "/in-the-way", "p"}, "n");
  add(file, "lost");
  add(file, "lost too");
  EXPECT_EQ(file.flush(true), 2u);
  std::filesystem::remove(folder + "/in-the-way");
  add(file, "not tried yet");
  EXPECT_EQ(file.flush(true), 1u);
  clock.ms += 2000;
  add(file, "here");
  EXPECT_EQ(file.flush(true), 0u);
  ASSERT_EQ(files().size(), 1u);
  EXPECT_EQ(text(files()[0]), "here\n");
}

TEST_F(WriterTest, TheThreadWritesWhatWorkersHandedOverBeforeItEnds) {
  {
    LogWriter writer(clock, Random(1), 2);
    writer.configure({{folder + "/a", "acc"}, {folder + "/c", "conn"}, model::LogFormat::Json, "app/x/1", "node"});
    for (int worker : {0, 1}) {
      for (int i = 0; i < 1000; ++i) {
        Access a = access();
        auto size = static_cast<uint32_t>((sizeof a.record + a.texts.size() + 7) & ~size_t{7});
        a.record.size = size;
        uint8_t* to = writer.ring(worker)->reserve(size);
        ASSERT_NE(to, nullptr);
        std::memcpy(to, &a.record, sizeof a.record);
        std::memcpy(to + sizeof a.record, a.texts.data(), a.texts.size());
      }
      writer.ring(worker)->publish();
    }
    writer.wake();
  }
  ASSERT_EQ(files().size(), 1u);
  std::string lines = text(files()[0]);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2000);
}

}  // namespace
}  // namespace weir::proxy
