#include "http/h2/stream.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "base/random.h"

namespace weir::http::h2 {
namespace {

// Written from RFC 9113 §5.1, not from the table.
StreamState expected(StreamState state, StreamEvent event) {
  bool local_open = state == StreamState::Open || state == StreamState::HalfClosedRemote;
  bool remote_open = state == StreamState::Open || state == StreamState::HalfClosedLocal;
  if (event == StreamEvent::LocalEnd) local_open = false;
  if (event == StreamEvent::RemoteEnd) remote_open = false;
  if (event == StreamEvent::Reset) local_open = remote_open = false;
  if (local_open) return remote_open ? StreamState::Open : StreamState::HalfClosedRemote;
  return remote_open ? StreamState::HalfClosedLocal : StreamState::Closed;
}

TEST(StreamState, EveryPairOfStateAndEvent) {
  for (auto state : {StreamState::Open, StreamState::HalfClosedLocal, StreamState::HalfClosedRemote, StreamState::Closed}) {
    for (auto event : {StreamEvent::LocalEnd, StreamEvent::RemoteEnd, StreamEvent::Reset}) {
      EXPECT_EQ(next_state(state, event), expected(state, event))
          << static_cast<int>(state) << " " << static_cast<int>(event);
    }
    Stream s;
    s.state = state;
    EXPECT_EQ(s.may_send(), expected(state, StreamEvent::LocalEnd) != state);
    EXPECT_EQ(s.may_receive(), expected(state, StreamEvent::RemoteEnd) != state);
  }
}

void walk(uint64_t seed, const std::function<uint32_t(Random&)>& id_of) {
  Random random(seed);
  StreamTable table;
  std::map<uint32_t, uint32_t> model;
  for (int step = 0; step < 50000; ++step) {
    uint32_t id = id_of(random);
    auto found = model.find(id);
    ASSERT_EQ(table.find(id), found == model.end() ? UINT32_MAX : found->second) << step;
    bool grow = model.size() < 300 && (step / 2000) % 2 == 0;
    if (found == model.end() && (grow || random.below(3) == 0)) {
      auto index = static_cast<uint32_t>(random.below(1 << 30));
      table.insert(id, index);
      model[id] = index;
    } else if (random.below(2) == 0) {
      table.erase(id);  // also one that is not there
      model.erase(id);
    }
    ASSERT_EQ(table.size(), model.size());
  }
  std::map<uint32_t, uint32_t> listed;
  table.for_each([&](uint32_t id, uint32_t index) { EXPECT_TRUE(listed.emplace(id, index).second); });
  EXPECT_EQ(listed, model);
}

TEST(StreamTable, AgreesWithAMapUnderRandomUse) {
  walk(1, [](Random& r) { return static_cast<uint32_t>(1 + 2 * r.below(500)); });       // dense
  walk(2, [](Random& r) { return static_cast<uint32_t>(1 + r.below(0x7fffffff)); });    // sparse, mostly absent
  walk(3, [](Random& r) { return static_cast<uint32_t>(1 + 2048 * r.below(600)); });    // all in few homes
  uint32_t next = 1;
  walk(4, [&next](Random& r) {  // as connections do: a window that slides upwards
    next += r.below(4) == 0 ? 2 : 0;
    return static_cast<uint32_t>(std::max<int64_t>(1, int64_t{next} - 2 * static_cast<int64_t>(r.below(200))));
  });
}

TEST(StreamTable, AnEmptyTableFindsAndErasesNothing) {
  StreamTable table;
  EXPECT_EQ(table.find(1), UINT32_MAX);
  table.erase(1);
  EXPECT_EQ(table.size(), 0u);
}

}  // namespace
}  // namespace weir::http::h2
