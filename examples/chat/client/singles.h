#pragma once

#include <cstdint>
#include <string>

#include "client/channel.h"

namespace weir::chat {

// What a single call asks for; see Behaviour in chat.proto.
struct Wish {
  std::string text = "hello";
  uint32_t bytes = 0;  // payload of each request message
  uint32_t reply_bytes = 0;
  uint32_t count = 3;  // messages of the stream
  uint32_t delay_ms = 0;
  uint32_t fail_code = 0;
  std::string fail_message;
  uint32_t deadline_ms = 30'000;
};

// One call each, told on stdout as it happens; the result is the exit code: 0 when the call ended OK.
int run_say(const Endpoint& endpoint, const Wish& wish);
int run_collect(const Endpoint& endpoint, const Wish& wish);
int run_watch(const Endpoint& endpoint, const Wish& wish);
int run_chat(const Endpoint& endpoint, const Wish& wish);

}  // namespace weir::chat
