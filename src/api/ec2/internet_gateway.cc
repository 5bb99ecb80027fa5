#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ec2/ec2.h"

namespace weir::api {
namespace {

constexpr const char* kKind = "ec2.internet-gateway";
constexpr DescribeSpec kDescribe{kKind, "InternetGatewayId", "InternetGatewayIds",
                                 "InvalidInternetGatewayID.NotFound", "internetGateway ID"};

Json load_gateway(Context& context, const std::string& id) {
  return load(context, kKind, id,
              {"InvalidInternetGatewayID.NotFound",
               fmt::format("The internetGateway ID '{}' does not exist", id), 400});
}

Json create_gateway(Context& context, const Json& input) {
  Json tags = tags_of(input);
  std::string id = new_id(context, "igw");
  Json gateway{{"InternetGatewayId", id}, {"OwnerId", context.account}, {"Attachments", Json::array()}, {"Tags", tags}};
  put(context, kKind, id, gateway);
  return {{"InternetGateway", gateway}};
}

Json describe_gateways(Context& context, const Json& input) {
  return {{"InternetGateways", describe(context, input, kDescribe)}};
}

Json attach_gateway(Context& context, const Json& input) {
  std::string id = required(input, "InternetGatewayId");
  std::string vpc_id = required(input, "VpcId");
  transaction(context, [&] {
    load_vpc(context, vpc_id);
    Json gateway = load_gateway(context, id);
    if (!gateway["Attachments"].empty()) {
      raise("Resource.AlreadyAssociated",
            fmt::format("resource {} is already attached to network {}", id, text(gateway["Attachments"][0], "VpcId")));
    }
    for (const auto& other : list(context, kKind)) {
      for (const auto& attachment : array(other, "Attachments")) {
        if (attachment["VpcId"] != vpc_id) continue;
        raise("InvalidParameterValue", fmt::format("Network {} already has an internet gateway attached", vpc_id));
      }
    }
    gateway["Attachments"] = Json::array({{{"VpcId", vpc_id}, {"State", "available"}}});
    put(context, kKind, id, gateway);
  });
  return Json::object();
}

Json detach_gateway(Context& context, const Json& input) {
  std::string id = required(input, "InternetGatewayId");
  std::string vpc_id = required(input, "VpcId");
  transaction(context, [&] {
    Json gateway = load_gateway(context, id);
    Json& attachments = gateway["Attachments"];
    if (attachments.empty() || attachments[0]["VpcId"] != vpc_id) {
      raise("Gateway.NotAttached", fmt::format("resource {} is not attached to network {}", id, vpc_id));
    }
    attachments = Json::array();
    put(context, kKind, id, gateway);
  });
  return Json::object();
}

Json delete_gateway(Context& context, const Json& input) {
  std::string id = required(input, "InternetGatewayId");
  transaction(context, [&] {
    Json gateway = load_gateway(context, id);
    if (!gateway["Attachments"].empty()) {
      raise("DependencyViolation",
            fmt::format("The internetGateway '{}' has dependencies and cannot be deleted.", id));
    }
    erase(context, kKind, id);
  });
  return Json::object();
}

}  // namespace

void add_internet_gateway_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ec2",
      {{"CreateInternetGateway", create_gateway},
       {"DescribeInternetGateways", describe_gateways},
       {"AttachInternetGateway", attach_gateway},
       {"DetachInternetGateway", detach_gateway},
       {"DeleteInternetGateway", delete_gateway}});
}

}  // namespace weir::api
