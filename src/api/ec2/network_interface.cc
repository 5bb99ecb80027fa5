#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/ec2.h"

namespace weir::api {
namespace {

constexpr DescribeSpec kDescribe{"ec2.network-interface", "NetworkInterfaceId", "NetworkInterfaceIds",
                                 "InvalidNetworkInterfaceID.NotFound", "networkInterface ID"};

struct Tagged {
  const char* prefix;
  const char* kind;
};
constexpr Tagged kTagged[] = {{"vpc-", "ec2.vpc"},
                              {"subnet-", "ec2.subnet"},
                              {"igw-", "ec2.internet-gateway"},
                              {"rtb-", "ec2.route-table"},
                              {"sg-", "ec2.security-group"},
                              {"eni-", "ec2.network-interface"}};

const char* kind_of_id(const std::string& id) {
  for (const auto& tagged : kTagged) {
    if (id.starts_with(tagged.prefix)) return tagged.kind;
  }
  raise("InvalidID", fmt::format("The ID '{}' is not valid", id));
}

Json describe_interfaces(Context& context, const Json& input) {
  return {{"NetworkInterfaces", describe(context, input, kDescribe)}};
}

template <class Change>
Json change_tags(Context& context, const Json& input, Change change) {
  transaction(context, [&] {
    for (const auto& resource : array(input, "Resources")) {
      std::string id = resource.is_string() ? resource.get<std::string>() : resource.dump();
      const char* kind = kind_of_id(id);
      Json document = load(context, kind, id, {"InvalidID", fmt::format("The ID '{}' is not valid", id), 400});
      change(document["Tags"]);
      put(context, kind, id, document);
    }
  });
  return Json::object();
}

Json create_tags(Context& context, const Json& input) {
  Json tags = tags_of(input);
  return change_tags(context, input, [&tags](Json& stored) { merge_tags(stored, tags); });
}

Json delete_tags(Context& context, const Json& input) {
  Json tags = array(input, "Tags");
  return change_tags(context, input, [&tags](Json& stored) { remove_tags(stored, tags); });
}

}  // namespace

void add_network_interface_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ec2",
      {{"DescribeNetworkInterfaces", describe_interfaces},
       {"CreateTags", create_tags},
       {"DeleteTags", delete_tags}});
}

void add_ec2_operations(Dispatcher& dispatcher, Context& context) {
  add_vpc_operations(dispatcher, context);
  add_subnet_operations(dispatcher, context);
  add_internet_gateway_operations(dispatcher, context);
  add_route_table_operations(dispatcher, context);
  add_security_group_operations(dispatcher, context);
  add_network_interface_operations(dispatcher, context);
}

}  // namespace weir::api
