// Histogram, method table, ring of records, flight recorder, ranking of streams.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "proxy/flight_recorder.h"
#include "proxy/histogram.h"
#include "proxy/log_ring.h"
#include "proxy/method_table.h"
#include "proxy/metrics.h"
#include "proxy/stream_report.h"

namespace weir::proxy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Histogram, EveryValueFallsIntoABucketWhoseBoundsDifferByAQuarterAtMost) {
  uint32_t last = 0;
  for (uint64_t micros = 0; micros < 5'000'000; micros += 1 + micros / 50) {
    uint32_t bucket = Histogram::bucket_of(micros);
    EXPECT_GE(bucket, last);
    last = bucket;
    EXPECT_LT(bucket, Histogram::kBuckets);
    if (micros >= 4) {
      EXPECT_NE(bucket, Histogram::bucket_of(micros + micros / 4 + 1)) << micros;
    }
  }
  EXPECT_EQ(Histogram::bucket_of(UINT64_MAX), Histogram::kBuckets - 1);
  for (uint32_t power = 2; power < 30; ++power) {  // what the Prometheus page relies on
    EXPECT_EQ(Histogram::bucket_of(uint64_t{1} << power), (power - 1) * 4);
    EXPECT_EQ(Histogram::bucket_of((uint64_t{1} << power) - 1), (power - 1) * 4 - 1);
  }
}

TEST(Histogram, CountsAndAddsUp) {
  Histogram h;
  h.add(milliseconds(3));
  h.add(milliseconds(5));
  h.add(milliseconds(-1));
  EXPECT_EQ(h.count(), 3u);
  EXPECT_EQ(h.sum_micros(), 8000u);
  EXPECT_EQ(h.counts()[0], 1u);
}

TEST(MethodTable, GivesEachMethodOneId) {
  MethodTable table;
  uint32_t id = table.resolve("/a.B/C");
  EXPECT_NE(id, kOtherMethod);
  EXPECT_EQ(table.resolve("/a.B/C"), id);
  EXPECT_NE(table.resolve("/a.B/D"), id);
  EXPECT_EQ(table.at(id).name, "/a.B/C");
}

TEST(MethodTable, CallsEverythingElseOther) {
  MethodTable table;
  for (std::string path : {"", "/", "/a", "a/b", "//b", "/a/", "/a b/c", "/a\"/c", "/a/c?d", "/a/\x01"}) {
    EXPECT_EQ(table.resolve(path), kOtherMethod) << path;
  }
  EXPECT_EQ(table.resolve("/a/" + std::string(kMethodNameBytesMax, 'x')), kOtherMethod);
}

TEST(MethodTable, KeepsWhatWasServedAndGivesAwayWhatWasNot) {
  MethodTable table;
  std::vector<uint32_t> ids;
  for (uint32_t i = 0; i < kMethodsMax; ++i) {
    ids.push_back(table.resolve("/s/M" + std::to_string(i)));
    table.at(ids.back()).served = true;
  }
  EXPECT_EQ(table.resolve("/new/Method"), kOtherMethod);
  table.at(ids[3]).served = false;
  table.at(ids[3]).started = 5;
  table.at(ids[3]).open = 1;
  EXPECT_EQ(table.resolve("/new/Method"), kOtherMethod) << "a stream of it is open";
  table.at(ids[3]).open = 0;
  uint32_t epoch = table.epoch();
  uint32_t fresh = kOtherMethod;
  for (uint32_t tries = 0; tries < kMethodsMax && fresh == kOtherMethod; ++tries) {
    fresh = table.resolve("/new/Method");
  }
  EXPECT_EQ(fresh, ids[3]);
  EXPECT_NE(table.epoch(), epoch);
  EXPECT_EQ(table.at(kOtherMethod).started, 5u) << "what was counted stays counted";
  EXPECT_EQ(table.size(), kMethodsMax + 1);
}

void put(LogRing& ring, uint32_t size, uint32_t number) {
  uint8_t* to = ring.reserve(size);
  if (to == nullptr) return;
  std::memcpy(to, &size, sizeof size);
  std::memcpy(to + sizeof size, &number, sizeof number);
}

std::vector<uint32_t> take(LogRing& ring) {
  std::vector<uint32_t> out;
  ring.drain([&](const uint8_t* record) {
    uint32_t number = 0;
    std::memcpy(&number, record + sizeof(uint32_t), sizeof number);
    out.push_back(number);
  });
  return out;
}

TEST(LogRing, HandsRecordsOverInOrderWhenTheyArePublished) {
  LogRing ring;
  put(ring, 16, 1);
  put(ring, 24, 2);
  EXPECT_TRUE(take(ring).empty());
  EXPECT_FALSE(ring.publish());
  EXPECT_EQ(take(ring), (std::vector<uint32_t>{1, 2}));
  EXPECT_TRUE(take(ring).empty());
}

TEST(LogRing, GoesRoundManyTimesWithRecordsOfAllSizes) {
  LogRing ring;
  uint32_t next = 0;
  uint32_t seen = 0;
  for (int round = 0; round < 3000; ++round) {
    for (uint32_t size : {16u, 1000u, 6000u, 65536u}) put(ring, size, next++);
    ring.publish();
    for (uint32_t number : take(ring)) ASSERT_EQ(number, seen++);
  }
  EXPECT_EQ(seen, next);
  EXPECT_EQ(ring.lost(), 0u);
}

TEST(LogRing, LosesAndCountsWhatFindsNoRoomAndAsksForTheReaderBefore) {
  LogRing ring;
  uint32_t number = 0;
  bool woke = false;
  while (ring.lost() == 0) {
    put(ring, 4096, number++);
    woke = ring.publish() || woke;
    ASSERT_LE(number, 2 * LogRing::kBytes / 4096);
  }
  EXPECT_TRUE(woke);
  put(ring, 4096, number++);
  EXPECT_EQ(ring.lost(), 2u);
  size_t taken = take(ring).size();
  EXPECT_EQ(taken, LogRing::kBytes / 4096);
  put(ring, 4096, 7);
  ring.publish();
  EXPECT_EQ(take(ring), std::vector<uint32_t>{7});
}

struct FrameBytes {
  uint8_t bytes[http::h2::kFrameHeaderBytes];
  operator const uint8_t*() const { return bytes; }
};

FrameBytes frame(uint32_t stream, http::h2::FrameType type = http::h2::FrameType::Data) {
  FrameBytes out;
  http::h2::write_frame_header(out.bytes, {10, type, http::h2::kFlagEndStream, stream});
  return out;
}

constexpr auto place_of = http::h2::FrameTrace::place_of;

TEST(FlightRecorder, WritesALinePerFrameWithTheTimeItWasSeen) {
  http::h2::FrameTrace trace;
  trace.enable(true);
  TimePoint now{seconds(1000)};
  trace.set_now(now - milliseconds(1500));
  trace.received(place_of(7), frame(3));
  trace.set_now(now);
  trace.wrote(place_of(7), frame(3, http::h2::FrameType::Headers));
  std::vector<std::string> lines = frame_lines(trace, {}, 2, now, 1'700'000'000'000);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "2023-11-14T22:13:18.500000Z w2 c7 < DATA stream=3 length=10 flags=END_STREAM");
  EXPECT_EQ(lines[1], "2023-11-14T22:13:20.000000Z w2 c7 > HEADERS stream=3 length=10 flags=END_STREAM");
}

TEST(FlightRecorder, KeepsTheLatestAndFiltersByConnectionAndStream) {
  http::h2::FrameTrace trace;
  trace.enable(true);
  for (uint32_t i = 0; i < http::h2::FrameTrace::kFrames + 100; ++i) trace.received(place_of(1 + i % 2), frame(i));
  EXPECT_EQ(frame_lines(trace, {UINT32_MAX, 0, 0}, 0, {}, 0).size(), http::h2::FrameTrace::kFrames);
  EXPECT_EQ(frame_lines(trace, {UINT32_MAX, 1, 0}, 0, {}, 0).size(), http::h2::FrameTrace::kFrames / 2);
  EXPECT_EQ(frame_lines(trace, {UINT32_MAX, 0, 65000}, 0, {}, 0).size(), 1u);
  EXPECT_EQ(frame_lines(trace, {UINT32_MAX, 0, 50}, 0, {}, 0).size(), 0u) << "long overwritten";
  EXPECT_EQ(frame_lines(trace, {5, 0, 0}, 0, {}, 0).size(), 5u);
}

TEST(FlightRecorder, IsSilentWhileItIsOff) {
  http::h2::FrameTrace trace;
  trace.received(place_of(1), frame(1));
  EXPECT_TRUE(frame_lines(trace, {}, 0, {}, 0).empty());
  trace.enable(true);
  trace.received(place_of(1), frame(1));
  trace.enable(false);
  EXPECT_TRUE(frame_lines(trace, {}, 0, {}, 0).empty());
}

model::StreamRow row(uint64_t key, uint64_t sent, uint64_t age_ms = 1000) {
  model::StreamRow r;
  r.key = key;
  r.request_messages = sent;
  r.age_ms = age_ms;
  return r;
}

TEST(StreamReport, KeepsTheRowsThatComeFirst) {
  TopRows top(3);
  for (uint64_t i : {5, 1, 9, 3, 7, 2}) {
    if (top.takes(i)) top.add(i, row(i, i));
  }
  auto rows = top.take();
  arrange(rows, model::StreamOrder::Messages, 0, 10);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].key, 9u);
  EXPECT_EQ(rows[2].key, 5u);
  arrange(rows, model::StreamOrder::Messages, 1, 1);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].key, 7u);
  arrange(rows, model::StreamOrder::Messages, 5, 1);
  EXPECT_TRUE(rows.empty());
}

TEST(StreamReport, RatesAreDifferencesToTheReportBefore) {
  RateSamples samples;
  TimePoint now{seconds(100)};
  model::StreamRow first = row(1, 50, 10'000);
  samples.fill(4, 1, now, first);
  EXPECT_EQ(first.request_rate, 5000u) << "at first the mean of its life, in messages per 1000 s";
  model::StreamRow second = row(1, 70);
  samples.fill(4, 1, now + seconds(2), second);
  EXPECT_EQ(second.request_rate, 10000u);
  model::StreamRow soon = row(1, 71);
  samples.fill(4, 1, now + seconds(2) + milliseconds(10), soon);
  EXPECT_EQ(soon.request_rate, 10000u) << "too soon to say anything new";
  model::StreamRow other = row(2, 3, 1000);
  samples.fill(4, 3, now + seconds(3), other);
  EXPECT_EQ(other.request_rate, 3000u) << "another stream in the same place";
}

TEST(Metrics, RowsOfSeveralWorkersBecomeOneEach) {
  model::Stats stats;
  for (int worker = 0; worker < 3; ++worker) {
    GroupMetrics group;
    group.group_arn = "tg";
    group.zone = worker == 2 ? "b" : "a";
    group.requests = 5;
    group.response_time.add(milliseconds(3));
    add_to(stats, group);
    MethodTable methods;
    MethodStats& m = methods.at(methods.resolve("/a.B/C"));
    m.started = m.by_code[0] = 2;
    m.duration.add(seconds(1));
    add_to(stats, methods);
    stats.targets.push_back({"tg", "10.0.0.1", 5, 1, 0, 1});
  }
  add_hosts(stats, "tg", "a", {4, 1});
  merge_rows(stats);
  ASSERT_EQ(stats.groups.size(), 2u);
  EXPECT_EQ(stats.groups[0].zone, "a");
  EXPECT_EQ(stats.groups[0].metrics[0].name, "RequestCount");
  EXPECT_EQ(stats.groups[0].metrics[0].value, 10u);
  EXPECT_EQ(stats.groups[0].metrics.back().name, "UnHealthyHostCount");
  EXPECT_EQ(stats.groups[0].response_time.count, 2u);
  ASSERT_EQ(stats.methods.size(), 1u);
  EXPECT_EQ(stats.methods[0].by_code[0], 6u);
  EXPECT_EQ(stats.methods[0].duration.count, 3u);
  ASSERT_EQ(stats.targets.size(), 1u);
  EXPECT_EQ(stats.targets[0].requests, 3u);
}

}  // namespace
}  // namespace weir::proxy
