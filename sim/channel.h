// The end of a connection that a simulated client or server holds: bytes in, bytes out, TLS or none.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "sim/loop.h"
#include "sim/tls_world.h"

namespace weir::sim {

class ChannelUser {
 public:
  virtual void on_bytes(std::string_view bytes) = 0;
  // The other side ended (error empty) or the connection failed. The channel is closed when this is called.
  virtual void on_closed(std::string_view error) = 0;

 protected:
  ~ChannelUser() = default;
};

class Channel final : public net::FdHandler {
 public:
  enum class Security : uint8_t { Clear, Tls, TlsServer };  // Tls: in the client's role
  Channel(net::Loop& loop, Network& network, int fd, Security security, ChannelUser& user);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Sends what the network takes and keeps the rest.
  void send(std::string_view bytes);
  size_t unsent() const { return out_.size(); }
  void set_reading(bool reading);
  bool open() const { return fd_ >= 0; }
  void close();             // FIN, or RST when bytes wait unread
  void reset();             // RST
  void shutdown_write();    // FIN, reading goes on
  bool resumed() const { return tls_ != nullptr && tls_->resumed(); }  // a TLS session of before

 private:
  void on_ready(uint32_t events) override;
  void flush();
  void update();
  void end(std::string_view error);

  net::Loop& loop_;
  Network& network_;
  int fd_;
  ChannelUser& user_;
  std::unique_ptr<TlsEnd> tls_;
  std::string out_;
  bool reading_ = true;
};

}  // namespace weir::sim
