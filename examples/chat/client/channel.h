#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace weir::chat {

// Where and how to connect.
struct Endpoint {
  std::string address = "127.0.0.1:443";
  std::string ca_file;      // PEM; empty: the system's authorities
  std::string authority;    // :authority, and the name checked in the certificate; empty: the address
  std::string target_name;  // the name checked in the certificate alone
  bool plaintext = false;
};

// Reads the CA file, or ends the program with a message that says what to do.
std::shared_ptr<grpc::ChannelCredentials> credentials(const Endpoint& endpoint);

// A channel of its own: never shares a connection with another one.
std::shared_ptr<grpc::Channel> make_channel(const Endpoint& endpoint,
                                            const std::shared_ptr<grpc::ChannelCredentials>& credentials);

// "UNAVAILABLE" for 14 and so on, as in gRPC's specification.
const char* code_name(grpc::StatusCode code);

}  // namespace weir::chat
