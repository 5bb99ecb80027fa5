// The chat client and load tool; `chat_client --help` lists what it does.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "client/checks.h"
#include "client/load.h"
#include "client/singles.h"

namespace {

void add_endpoint(CLI::App* app, weir::chat::Endpoint* endpoint) {
  app->add_option("--address", endpoint->address, "HOST:PORT to connect to")->capture_default_str();
  app->add_option("--ca", endpoint->ca_file, "PEM file of the authority that signed the server's certificate");
  app->add_option("--authority", endpoint->authority,
                  "the name to call the server by (:authority), also checked in its certificate");
  app->add_option("--target-name", endpoint->target_name, "the name to check in the certificate alone");
  app->add_flag("--plaintext", endpoint->plaintext, "no TLS (straight to a chat_server)");
}

void add_wish(CLI::App* app, weir::chat::Wish* wish) {
  app->add_option("--text", wish->text, "what to say")->capture_default_str();
  app->add_option("--bytes", wish->bytes, "payload of each message sent");
  app->add_option("--reply-bytes", wish->reply_bytes, "payload of each reply (default: the request's)");
  app->add_option("--count", wish->count, "messages of the stream")->capture_default_str();
  app->add_option("--delay", wish->delay_ms, "ms the server waits before each reply");
  app->add_option("--fail-code", wish->fail_code, "gRPC status code the server shall end the call with");
  app->add_option("--fail-message", wish->fail_message, "and its message");
  app->add_option("--deadline", wish->deadline_ms, "ms")->capture_default_str();
}

void add_load(CLI::App* app, weir::chat::LoadOptions* load) {
  app->add_option("--connections", load->connections, "separate connections")->check(CLI::Range(1, 10'000));
  app->add_option("--rpcs", load->rpcs, "unary RPCs in all");
  app->add_option("--unary-seconds", load->unary_seconds, "without --rpcs: unary RPCs for so long");
  app->add_option("--concurrency", load->concurrency, "unary RPCs at a time")->capture_default_str();
  app->add_option("--rpc-interval", load->rpc_interval_ms, "ms between two RPCs of one of those places");
  app->add_option("--streams", load->streams, "streams at a time")->check(CLI::Range(0, 100'000));
  app->add_option("--seconds", load->seconds, "how long streams are kept up");
  app->add_option("--stream-seconds", load->stream_seconds,
                  "how long one stream lives, then its place opens the next (default: all the time)");
  app->add_option("--stream-kinds", load->kinds, "chat, watch, collect; dealt out in turn")
      ->delimiter(',')->check(CLI::IsMember({"chat", "watch", "collect"}));
  app->add_option("--message-interval", load->message_interval_ms, "ms between messages of a stream")
      ->capture_default_str();
  app->add_option("--bytes", load->bytes, "payload of every message")->capture_default_str();
  app->add_option("--deadline", load->deadline_ms, "ms for a unary RPC, and a stream beyond its length")
      ->capture_default_str();
  app->add_flag("--wait-for-ready", load->wait_for_ready, "wait for a connection instead of failing at once");
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  CLI::App app("Talks to the chat service through a load balancer, or straight to a server.");
  app.require_subcommand(1);
  app.fallthrough();
  weir::chat::Endpoint endpoint;
  weir::chat::Wish wish;
  weir::chat::LoadOptions load;
  add_endpoint(&app, &endpoint);
  CLI::App* say = app.add_subcommand("say", "one unary call");
  CLI::App* collect = app.add_subcommand("collect", "one client-streaming call");
  CLI::App* watch = app.add_subcommand("watch", "one server-streaming call");
  CLI::App* chat = app.add_subcommand("chat", "one bidirectional call");
  CLI::App* all = app.add_subcommand("all", "every call type, with all that gRPC promises checked");
  CLI::App* pressure = app.add_subcommand("load", "many RPCs and streams; ends with a line of JSON");
  for (CLI::App* one : {say, collect, watch, chat}) add_wish(one, &wish);
  add_load(pressure, &load);
  CLI11_PARSE(app, argc, argv);

  if (say->parsed()) return weir::chat::run_say(endpoint, wish);
  if (collect->parsed()) return weir::chat::run_collect(endpoint, wish);
  if (watch->parsed()) return weir::chat::run_watch(endpoint, wish);
  if (chat->parsed()) return weir::chat::run_chat(endpoint, wish);
  if (all->parsed()) return weir::chat::run_all(endpoint);
  if (load.rpcs == 0 && load.unary_seconds <= 0 && (load.streams == 0 || load.seconds <= 0)) {
    std::fprintf(stderr, "chat_client: give --rpcs N, --unary-seconds T, or --streams S with --seconds T\n");
    return 2;
  }
  return weir::chat::run_load(endpoint, load);
}
