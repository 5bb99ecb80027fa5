// The chat server. Ends on SIGTERM or SIGINT: its health turns NOT_SERVING, calls under way may finish
// for --drain-seconds, then it exits 0.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "server/identity.h"
#include "server/service.h"

namespace {

struct Options {
  std::string address;  // empty: 0.0.0.0:$PORT, and 50051 without $PORT
  int drain_seconds = 20;
};

constexpr char kUsage[] =
    "usage: chat_server [--address HOST:PORT] [--drain-seconds N]\n"
    "  --address        where to listen (default 0.0.0.0:$PORT, or 0.0.0.0:50051)\n"
    "  --drain-seconds  how long calls may go on after SIGTERM (default 20)\n"
    "environment: PORT, TASK_ID (the name put into answers; else the ECS task id, else the host name)\n";

// False: what was given makes no sense, or --help; the usage has been printed.
bool parse(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; i++) {
    std::string arg = argv[i];
    std::string value;
    if (size_t equals = arg.find('='); equals != arg.npos) {
      value = arg.substr(equals + 1);
      arg.resize(equals);
    } else if (i + 1 < argc && arg != "--help") {
      value = argv[++i];
    }
    char* end = nullptr;
    if (arg == "--address" && value.find(':') != value.npos) {
      options->address = value;
    } else if (arg == "--drain-seconds" && !value.empty()) {
      options->drain_seconds = static_cast<int>(std::strtol(value.c_str(), &end, 10));
      if (*end != '\0' || options->drain_seconds < 0) return std::fputs(kUsage, stderr), false;
    } else {
      return std::fputs(kUsage, stderr), false;
    }
  }
  if (options->address.empty()) {
    const char* port = std::getenv("PORT");
    options->address = std::string("0.0.0.0:") + (port && *port ? port : "50051");
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, &options)) return 2;

  // Blocked before gRPC starts its threads, so that they inherit it and the signal waits for sigwait.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  std::string name = weir::chat::task_identity();
  weir::chat::ChatService service(name);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server || port == 0) {
    std::fprintf(stderr, "chat_server: cannot listen on %s: is the port taken?\n", options.address.c_str());
    return 1;
  }
  server->GetHealthCheckService()->SetServingStatus("weir.chat.v1.ChatService", true);
  std::printf("chat_server: %s serves on %s (port %d)\n", name.c_str(), options.address.c_str(), port);

  int signal = 0;
  sigwait(&stop_signals, &signal);
  std::printf("chat_server: %s, draining for up to %d s\n", strsignal(signal), options.drain_seconds);
  server->GetHealthCheckService()->SetServingStatus(false);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(options.drain_seconds));
  server->Wait();
  std::printf("chat_server: stopped\n");
  return 0;
}
