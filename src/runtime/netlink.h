// The few rtnetlink requests an ENI needs, each acknowledged by the kernel before it returns.
//
// A Netlink speaks to the namespace it was opened in, from whatever thread it is used. One user at a
// time. "Idempotent" below: what already is as wanted counts as success.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

struct mnl_socket;
struct nlmsghdr;

namespace weir::runtime {

struct Link {
  int index = 0;
  std::string name;
  int master = 0;  // index of the bridge it belongs to; 0: none
  bool operational = false;  // the kernel has noticed its carrier: it sends what it is given
  bool forwarding = false;   // as a bridge's port
};

class Netlink {
 public:
  static Result<Netlink> open_in(const std::string& netns_path);

  Result<std::vector<Link>> links();
  // The link with that name, or one with index 0 when there is none.
  Result<Link> find_link(const std::string& name);
  Result<void> create_bridge(const std::string& name);
  // A veth pair: `name` here, enslaved to `master`; its peer `peer` in `peer_netns` (an open namespace
  // descriptor) with the hardware address `peer_mac`.
  Result<void> create_veth(const std::string& name, int master, const std::string& peer, int peer_netns,
                           const uint8_t (&peer_mac)[6]);
  Result<void> set_master(int index, int master);
  Result<void> set_up(int index);
  // Addresses in network byte order. Idempotent.
  Result<void> add_address(int index, uint32_t address, int prefix_length);
  // "DESTINATION/PREFIX dev INDEX scope link src SOURCE". Idempotent.
  Result<void> add_link_route(int index, uint32_t destination, int prefix_length, uint32_t source);
  // Idempotent.
  Result<void> remove_link(int index);

 private:
  struct Closer {
    void operator()(mnl_socket* socket) const;
  };
  explicit Netlink(mnl_socket* socket) : socket_(socket) {}
  // Sends and waits for the acknowledgement or the end of the dump; the code of the error is the
  // kernel's.
  Result<void> request(nlmsghdr* header, const char* what,
                       const std::function<void(const nlmsghdr*)>& each = nullptr);

  std::unique_ptr<mnl_socket, Closer> socket_;
  uint32_t sequence_ = 0;
};

}  // namespace weir::runtime
