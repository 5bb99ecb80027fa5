#include "client/channel.h"

#include <cstdio>
#include <cstdlib>

namespace weir::chat {
namespace {

constexpr int kMessageMaxBytes = 8 << 20;

std::string read_file(const std::string& path) {
  std::string text;
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    std::fprintf(stderr, "chat_client: cannot read %s; --ca takes the PEM file of the authority that "
                 "signed the listener's certificate\n", path.c_str());
    std::exit(2);
  }
  char part[4096];
  for (size_t n; (n = std::fread(part, 1, sizeof part, file)) > 0;) text.append(part, n);
  std::fclose(file);
  return text;
}

}  // namespace

std::shared_ptr<grpc::ChannelCredentials> credentials(const Endpoint& endpoint) {
  if (endpoint.plaintext) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  if (!endpoint.ca_file.empty()) options.pem_root_certs = read_file(endpoint.ca_file);
  return grpc::SslCredentials(options);
}

std::shared_ptr<grpc::Channel> make_channel(const Endpoint& endpoint,
                                            const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(kMessageMaxBytes);
  const std::string& name = endpoint.target_name.empty() ? endpoint.authority : endpoint.target_name;
  if (!name.empty() && !endpoint.plaintext) arguments.SetSslTargetNameOverride(name);
  if (!endpoint.authority.empty()) arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, endpoint.authority);
  return grpc::CreateCustomChannel(endpoint.address, credentials, arguments);
}

const char* code_name(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {
      "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
      "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
      "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
  return code >= 0 && code <= 16 ? kNames[code] : "INVALID_CODE";
}

}  // namespace weir::chat
