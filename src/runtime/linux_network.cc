#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cctype>
#include <cerrno>

#include "runtime/driver.h"
#include "runtime/firewall.h"
#include "runtime/ipv4.h"
#include "runtime/netlink.h"
#include "runtime/netns.h"
#include "runtime/unique_fd.h"

namespace weir::runtime {
namespace {

constexpr const char* kBridge = "weir0";
constexpr const char* kInterface = "eth0";
constexpr int kBacklog = 4096;
constexpr int kUsableTries = 3000;  // a millisecond each

Result<void> check_id(const std::string& what, const std::string& id, const char* also_allowed) {
  bool good = !id.empty() && id.size() <= 64;
  for (char c : id) {
    bool plain = std::isalnum(static_cast<unsigned char>(c));
    good = good && (plain || std::string(also_allowed).find(c) != std::string::npos);
  }
  if (!good) return fail(what + " \"" + id + "\" has characters that a name must not have");
  return {};
}

// A namespace starts with the host's values (sysctl net.core.devconf_inherit_init_net), and the host may
// be a router. Best effort: a kernel without one of these has nothing to switch off.
void set_namespace_defaults() {
  constexpr std::pair<const char*, const char*> kSettings[] = {
      {"net/ipv4/ip_forward", "0"},
      {"net/ipv4/conf/all/proxy_arp", "0"},
      {"net/ipv4/conf/default/proxy_arp", "0"},
      {"net/ipv6/conf/all/forwarding", "0"},
      // The fabric speaks IPv4 only: no link-local addresses, no router solicitations.
      {"net/ipv6/conf/default/addr_gen_mode", "1"},
      {"net/bridge/bridge-nf-call-iptables", "0"},
      // As in Docker: any user may bind port 80 and ping, since tasks have no capabilities for it.
      {"net/ipv4/ip_unprivileged_port_start", "0"},
      {"net/ipv4/ping_group_range", "0 2147483647"},
  };
  for (const auto& [name, value] : kSettings) {
    UniqueFd file(::open((std::string("/proc/sys/") + name).c_str(), O_WRONLY | O_CLOEXEC));
    if (file.valid()) (void)!::write(file.get(), value, std::string(value).size());
  }
}

Result<void> set_up_loopback(Netlink& netlink) {
  WEIR_TRY_ASSIGN(Link lo, netlink.find_link("lo"));
  return netlink.set_up(lo.index);
}

// At once, not when the kernel gets round to freeing the namespace, and also when a process still holds it.
Result<void> remove_links(const std::string& netns) {
  WEIR_TRY_ASSIGN(Netlink netlink, Netlink::open_in(netns_path(netns)));
  WEIR_TRY_ASSIGN(std::vector<Link> links, netlink.links());
  for (const Link& link : links) {
    if (link.name != "lo") WEIR_TRY(netlink.remove_link(link.index));
  }
  return {};
}

class LinuxNetwork final : public NetworkDriver {
 public:
  explicit LinuxNetwork(const LinuxOptions& options) : prefix_("weir-" + options.instance + "-") {
    instance_ = options.instance;
  }

  Result<void> ensure_fabric(const FabricSpec& spec) override {
    WEIR_TRY(check_name(spec.vpc_id, "vpc-"));
    WEIR_TRY(parse_ipv4_range(spec.cidr));
    std::string name = prefix_ + spec.vpc_id;
    WEIR_TRY_ASSIGN(Netlink netlink, open_namespace(name));
    WEIR_TRY(netlink.create_bridge(kBridge));
    WEIR_TRY_ASSIGN(Link bridge, netlink.find_link(kBridge));
    WEIR_TRY(netlink.set_up(bridge.index));
    return {};
  }

  Result<void> remove_fabric(const std::string& vpc_id) override { return remove_namespace(vpc_id, "vpc-"); }

  Result<EniInfo> ensure_eni(const EniSpec& spec) override {
    WEIR_TRY(check_name(spec.eni_id, "eni-"));
    WEIR_TRY(check_name(spec.vpc_id, "vpc-"));
    WEIR_TRY_ASSIGN(Ipv4Range vpc, parse_ipv4_range(spec.vpc_cidr));
    WEIR_TRY_ASSIGN(uint32_t address, parse_ipv4(spec.address));
    WEIR_TRY_ASSIGN(std::string script, firewall_script(spec.firewall));
    std::string fabric_name = prefix_ + spec.vpc_id;
    if (!netns_exists(fabric_name)) {
      return fail("network interface " + spec.eni_id + ": its VPC " + spec.vpc_id + " is not set up");
    }
    std::string name = prefix_ + spec.eni_id;
    WEIR_TRY_ASSIGN(Netlink eni, open_namespace(name));
    // The rules stand before the first packet can arrive.
    WEIR_TRY(load_firewall(netns_path(name), spec.firewall));
    WEIR_TRY_ASSIGN(Netlink fabric, Netlink::open_in(netns_path(fabric_name)));
    WEIR_TRY_ASSIGN(Link interface, connect(spec, fabric, eni, address));
    WEIR_TRY(eni.add_address(interface.index, address, spec.prefix_length));
    WEIR_TRY(eni.set_up(interface.index));
    WEIR_TRY(eni.add_link_route(interface.index, vpc.network, vpc.prefix_length, address));
    WEIR_TRY(wait_until_usable(spec.eni_id, fabric, eni));
    return EniInfo{netns_path(name)};
  }

  Result<void> add_address(const std::string& eni_id, const std::string& address,
                           int prefix_length) override {
    WEIR_TRY(check_name(eni_id, "eni-"));
    WEIR_TRY_ASSIGN(uint32_t number, parse_ipv4(address));
    WEIR_TRY_ASSIGN(Netlink eni, Netlink::open_in(netns_path(prefix_ + eni_id)));
    WEIR_TRY_ASSIGN(Link interface, eni.find_link(kInterface));
    if (interface.index == 0) return fail("network interface " + eni_id + " is not set up");
    return eni.add_address(interface.index, number, prefix_length);
  }

  Result<void> remove_eni(const std::string& eni_id) override { return remove_namespace(eni_id, "eni-"); }

  Result<void> apply_firewall(const std::string& eni_id, const FirewallSpec& spec) override {
    WEIR_TRY(check_name(eni_id, "eni-"));
    return load_firewall(netns_path(prefix_ + eni_id), spec);
  }

  Result<int> listen_in(const std::string& eni_id, const std::string& address, uint16_t port) override {
    WEIR_TRY(check_name(eni_id, "eni-"));
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    WEIR_TRY_ASSIGN(where.sin_addr.s_addr, parse_ipv4(address));
    UniqueFd socket;
    WEIR_TRY(in_netns(netns_path(prefix_ + eni_id), [&]() -> Result<void> {
      socket = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      if (!socket.valid()) return fail_errno("socket", errno);
      return {};
    }));
    // A socket stays in the namespace it was made in.
    int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) != 0 ||
        ::listen(socket.get(), kBacklog) != 0) {
      return fail_errno("cannot listen on " + address + ":" + std::to_string(port) + " of " + eni_id, errno);
    }
    return socket.release();
  }

  Result<std::vector<std::string>> list_enis() override { return list_kind("eni-"); }
  Result<std::vector<std::string>> list_fabrics() override { return list_kind("vpc-"); }
  std::string enforcement() const override { return "kernel"; }

 private:
  // The kind is a part of the namespace's name: by it the lists are made.
  Result<void> check_name(const std::string& id, const char* kind) const {
    WEIR_TRY(check_id("instance", instance_, "_"));
    if (!id.starts_with(kind)) return fail("\"" + id + "\" does not start with " + kind);
    return check_id("id", id, "-_");
  }

  // The namespace, made if needed, with its settings and loopback up.
  Result<Netlink> open_namespace(const std::string& name) {
    WEIR_TRY(create_netns(name));
    WEIR_TRY(in_netns(netns_path(name), []() -> Result<void> {
      set_namespace_defaults();
      return {};
    }));
    WEIR_TRY_ASSIGN(Netlink netlink, Netlink::open_in(netns_path(name)));
    WEIR_TRY(set_up_loopback(netlink));
    return netlink;
  }

  // Name of the veth's end in the fabric: at most 15 bytes.
  static std::string port_name(const std::string& eni_id) {
    std::string suffix = eni_id.starts_with("eni-") ? eni_id.substr(4) : eni_id;
    return "v" + (suffix.size() > 14 ? suffix.substr(suffix.size() - 14) : suffix);
  }

  // The kernel notices the carrier of a new pair a little later (its link watch is a work queue); until
  // then it drops what is sent, and the first connection would wait a second for its retry.
  static Result<void> wait_until_usable(const std::string& eni_id, Netlink& fabric, Netlink& eni) {
    for (int i = 0; i < kUsableTries; ++i) {
      WEIR_TRY_ASSIGN(Link outside, fabric.find_link(port_name(eni_id)));
      WEIR_TRY_ASSIGN(Link inside, eni.find_link(kInterface));
      if (outside.forwarding && outside.operational && inside.operational) return {};
      ::poll(nullptr, 0, 1);
    }
    return fail("network interface " + eni_id + " did not become usable; try again");
  }

  // The veth pair between fabric and ENI: whole, or made anew.
  Result<Link> connect(const EniSpec& spec, Netlink& fabric, Netlink& eni, uint32_t address) {
    WEIR_TRY_ASSIGN(Link bridge, fabric.find_link(kBridge));
    if (bridge.index == 0) return fail("VPC " + spec.vpc_id + " has no bridge; set it up again");
    std::string port = port_name(spec.eni_id);
    WEIR_TRY_ASSIGN(Link outside, fabric.find_link(port));
    WEIR_TRY_ASSIGN(Link inside, eni.find_link(kInterface));
    if (outside.index == 0 || inside.index == 0) {
      if (outside.index != 0) WEIR_TRY(fabric.remove_link(outside.index));
      if (inside.index != 0) WEIR_TRY(eni.remove_link(inside.index));
      UniqueFd ns(::open(netns_path(prefix_ + spec.eni_id).c_str(), O_RDONLY | O_CLOEXEC));
      if (!ns.valid()) return fail_errno("network interface " + spec.eni_id, errno);
      // The address decides the MAC: when an address moves to a new interface, the neighbours' caches stay
      // true.
      const auto* byte = reinterpret_cast<const uint8_t*>(&address);
      uint8_t mac[6] = {0x0a, 0x00, byte[0], byte[1], byte[2], byte[3]};
      WEIR_TRY(fabric.create_veth(port, bridge.index, kInterface, ns.get(), mac));
      WEIR_TRY_ASSIGN(outside, fabric.find_link(port));
      WEIR_TRY_ASSIGN(inside, eni.find_link(kInterface));
      if (outside.index == 0 || inside.index == 0) {
        return fail("network interface " + spec.eni_id + " vanished while it was made");
      }
    }
    if (outside.master != bridge.index) WEIR_TRY(fabric.set_master(outside.index, bridge.index));
    WEIR_TRY(fabric.set_up(outside.index));
    return inside;
  }

  Result<void> remove_namespace(const std::string& id, const char* kind) {
    WEIR_TRY(check_name(id, kind));
    std::string name = prefix_ + id;
    if (netns_exists(name)) WEIR_TRY(remove_links(name));
    return remove_netns(name);
  }

  // Ids whose namespace name is ours and starts with `kind`.
  Result<std::vector<std::string>> list_kind(const std::string& kind) {
    WEIR_TRY(check_id("instance", instance_, "_"));
    WEIR_TRY_ASSIGN(std::vector<std::string> names, list_netns(prefix_ + kind));
    for (std::string& name : names) name = name.substr(prefix_.size());
    return names;
  }

  std::string instance_;
  std::string prefix_;
};

}  // namespace

std::unique_ptr<NetworkDriver> make_linux_network(const LinuxOptions& options) {
  return std::make_unique<LinuxNetwork>(options);
}

}  // namespace weir::runtime
