#include "runtime/netlink.h"

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "runtime/netns.h"

namespace weir::runtime {
namespace {

// Room for one request; the largest here is some 200 bytes.
using Buffer = std::array<char, 1024>;

nlmsghdr* link_message(Buffer& buffer, uint16_t type, uint16_t flags, int index) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  auto* link = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg)));
  link->ifi_family = AF_UNSPEC;
  link->ifi_index = index;
  return header;
}

constexpr uint8_t kOperationallyUp = 6;  // IF_OPER_UP, RFC 2863
constexpr uint8_t kForwarding = 3;       // BR_STATE_FORWARDING

struct LinkReader {
  Link link;

  static int port(const nlattr* attr, void* self) {
    if (mnl_attr_get_type(attr) == IFLA_BRPORT_STATE) {
      static_cast<LinkReader*>(self)->link.forwarding = mnl_attr_get_u8(attr) == kForwarding;
    }
    return MNL_CB_OK;
  }
  static int info(const nlattr* attr, void* self) {
    if (mnl_attr_get_type(attr) == IFLA_INFO_SLAVE_DATA) mnl_attr_parse_nested(attr, &LinkReader::port, self);
    return MNL_CB_OK;
  }

  static int attribute(const nlattr* attr, void* self) {
    Link& link = static_cast<LinkReader*>(self)->link;
    if (mnl_attr_get_type(attr) == IFLA_IFNAME) link.name = mnl_attr_get_str(attr);
    if (mnl_attr_get_type(attr) == IFLA_MASTER) link.master = static_cast<int>(mnl_attr_get_u32(attr));
    if (mnl_attr_get_type(attr) == IFLA_OPERSTATE) {
      link.operational = mnl_attr_get_u8(attr) == kOperationallyUp;
    }
    if (mnl_attr_get_type(attr) == IFLA_LINKINFO) mnl_attr_parse_nested(attr, &LinkReader::info, self);
    return MNL_CB_OK;
  }
  static Link read(const nlmsghdr* header) {
    LinkReader reader;
    reader.link.index = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(header))->ifi_index;
    mnl_attr_parse(header, sizeof(ifinfomsg), &LinkReader::attribute, &reader);
    return reader.link;
  }
};

}  // namespace

void Netlink::Closer::operator()(mnl_socket* socket) const { mnl_socket_close(socket); }

Result<Netlink> Netlink::open_in(const std::string& netns_path) {
  mnl_socket* socket = nullptr;
  WEIR_TRY(in_netns(netns_path, [&]() -> Result<void> {
    socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (socket == nullptr) return fail_errno("open rtnetlink", errno);
    return {};
  }));
  Netlink netlink(socket);
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) return fail_errno("bind rtnetlink", errno);
  return netlink;
}

Result<void> Netlink::request(nlmsghdr* header, const char* what,
                              const std::function<void(const nlmsghdr*)>& each) {
  header->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_.get(), header, header->nlmsg_len) < 0) return fail_errno(what, errno);
  auto on_message = [](const nlmsghdr* message, void* data) {
    const auto& callback = *static_cast<const std::function<void(const nlmsghdr*)>*>(data);
    if (callback) callback(message);
    return MNL_CB_OK;
  };
  std::array<char, 32768> answer;
  for (;;) {
    ssize_t size = mnl_socket_recvfrom(socket_.get(), answer.data(), answer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno(what, errno);
    int state =
        mnl_cb_run(answer.data(), static_cast<size_t>(size), sequence_, mnl_socket_get_portid(socket_.get()),
                   on_message, const_cast<void*>(static_cast<const void*>(&each)));
    if (state < 0) return fail_errno(what, errno);
    if (state == MNL_CB_STOP) return {};
  }
}

Result<std::vector<Link>> Netlink::links() {
  Buffer buffer;
  nlmsghdr* header = link_message(buffer, RTM_GETLINK, NLM_F_DUMP, 0);
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  std::vector<Link> found;
  WEIR_TRY(request(header, "list links", [&found](const nlmsghdr* message) {
    if (message->nlmsg_type == RTM_NEWLINK) found.push_back(LinkReader::read(message));
  }));
  return found;
}

Result<Link> Netlink::find_link(const std::string& name) {
  Buffer buffer;
  nlmsghdr* header = link_message(buffer, RTM_GETLINK, 0, 0);
  mnl_attr_put_strz(header, IFLA_IFNAME, name.c_str());
  Link found;
  Result<void> asked = request(header, "find link", [&found](const nlmsghdr* message) {
    if (message->nlmsg_type == RTM_NEWLINK) found = LinkReader::read(message);
  });
  if (!asked && asked.error().code != ENODEV) return std::unexpected(asked.error());
  return found;
}

Result<void> Netlink::create_bridge(const std::string& name) {
  Buffer buffer;
  nlmsghdr* header = link_message(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
  mnl_attr_put_strz(header, IFLA_IFNAME, name.c_str());
  nlattr* info = mnl_attr_nest_start(header, IFLA_LINKINFO);
  mnl_attr_put_strz(header, IFLA_INFO_KIND, "bridge");
  nlattr* data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
  mnl_attr_put_u8(header, IFLA_BR_MCAST_SNOOPING, 0);
  mnl_attr_nest_end(header, data);
  mnl_attr_nest_end(header, info);
  Result<void> made = request(header, "create bridge");
  if (!made && made.error().code == EEXIST) return {};
  return made;
}

Result<void> Netlink::create_veth(const std::string& name, int master, const std::string& peer,
                                  int peer_netns, const uint8_t (&peer_mac)[6]) {
  Buffer buffer;
  nlmsghdr* header = link_message(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
  mnl_attr_put_strz(header, IFLA_IFNAME, name.c_str());
  mnl_attr_put_u32(header, IFLA_MASTER, static_cast<uint32_t>(master));
  nlattr* info = mnl_attr_nest_start(header, IFLA_LINKINFO);
  mnl_attr_put_strz(header, IFLA_INFO_KIND, "veth");
  nlattr* data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
  nlattr* other = mnl_attr_nest_start(header, VETH_INFO_PEER);
  auto* link = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg)));
  link->ifi_family = AF_UNSPEC;
  mnl_attr_put_strz(header, IFLA_IFNAME, peer.c_str());
  mnl_attr_put(header, IFLA_ADDRESS, sizeof(peer_mac), peer_mac);
  mnl_attr_put_u32(header, IFLA_NET_NS_FD, static_cast<uint32_t>(peer_netns));
  mnl_attr_nest_end(header, other);
  mnl_attr_nest_end(header, data);
  mnl_attr_nest_end(header, info);
  return request(header, "create veth");
}

Result<void> Netlink::set_master(int index, int master) {
  Buffer buffer;
  nlmsghdr* header = link_message(buffer, RTM_NEWLINK, 0, index);
  mnl_attr_put_u32(header, IFLA_MASTER, static_cast<uint32_t>(master));
  return request(header, "attach to bridge");
}

Result<void> Netlink::set_up(int index) {
  Buffer buffer;
  nlmsghdr* header = link_message(buffer, RTM_NEWLINK, 0, index);
  auto* link = static_cast<ifinfomsg*>(mnl_nlmsg_get_payload(header));
  link->ifi_flags = IFF_UP;
  link->ifi_change = IFF_UP;
  return request(header, "set link up");
}

Result<void> Netlink::add_address(int index, uint32_t address, int prefix_length) {
  Buffer buffer;
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = RTM_NEWADDR;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  auto* info = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifaddrmsg)));
  info->ifa_family = AF_INET;
  info->ifa_prefixlen = static_cast<uint8_t>(prefix_length);
  info->ifa_scope = RT_SCOPE_UNIVERSE;
  info->ifa_index = static_cast<uint32_t>(index);
  mnl_attr_put_u32(header, IFA_LOCAL, address);
  mnl_attr_put_u32(header, IFA_ADDRESS, address);
  Result<void> added = request(header, "add address");
  if (!added && added.error().code == EEXIST) return {};
  return added;
}

Result<void> Netlink::add_link_route(int index, uint32_t destination, int prefix_length, uint32_t source) {
  Buffer buffer;
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = RTM_NEWROUTE;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  auto* route = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  route->rtm_family = AF_INET;
  route->rtm_dst_len = static_cast<uint8_t>(prefix_length);
  route->rtm_table = RT_TABLE_MAIN;
  route->rtm_protocol = RTPROT_STATIC;
  route->rtm_scope = RT_SCOPE_LINK;
  route->rtm_type = RTN_UNICAST;
  mnl_attr_put_u32(header, RTA_DST, destination);
  mnl_attr_put_u32(header, RTA_OIF, static_cast<uint32_t>(index));
  mnl_attr_put_u32(header, RTA_PREFSRC, source);
  Result<void> added = request(header, "add route");
  if (!added && added.error().code == EEXIST) return {};
  return added;
}

Result<void> Netlink::remove_link(int index) {
  Buffer buffer;
  Result<void> removed = request(link_message(buffer, RTM_DELLINK, 0, index), "remove link");
  if (!removed && removed.error().code == ENODEV) return {};
  return removed;
}

}  // namespace weir::runtime
