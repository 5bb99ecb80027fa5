// The EC2 operations that templates of this architecture use, one file per resource.
#pragma once

#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "api/support.h"

namespace weir::api {

void add_vpc_operations(Dispatcher& dispatcher, Context& context);
void add_subnet_operations(Dispatcher& dispatcher, Context& context);
void add_internet_gateway_operations(Dispatcher& dispatcher, Context& context);
void add_route_table_operations(Dispatcher& dispatcher, Context& context);
void add_security_group_operations(Dispatcher& dispatcher, Context& context);
void add_network_interface_operations(Dispatcher& dispatcher, Context& context);

// The account's default VPC: 172.31.0.0/16 with a /20 subnet in each of three zones. It stands for the
// host's own network. Made at the first start; later calls do nothing. Answers its id.
std::string ensure_default_vpc(Context& context);

Json load_vpc(Context& context, const std::string& vpc_id);
Json load_subnet(Context& context, const std::string& subnet_id);
Json load_security_group(Context& context, const std::string& group_id);
// The id of the group named "default" of a VPC.
std::string default_security_group(Context& context, const std::string& vpc_id);
// Side effects of CreateVpc and DeleteVpc.
void create_default_group(Context& context, const std::string& vpc_id);
void create_main_route_table(Context& context, const std::string& vpc_id, const std::string& cidr);

// Describe of one kind: `ids_member` of the input chooses documents (unknown: `not_found` is raised with
// "The ID '…' does not exist"), Filters[] choose among them. Documents that are being deleted are left out.
struct DescribeSpec {
  const char* kind;
  const char* id_member;    // "VpcId"
  const char* ids_member;   // "VpcIds"
  const char* not_found;    // "InvalidVpcID.NotFound"
  const char* noun;         // "vpc ID"
};
Json describe(Context& context, const Json& input, const DescribeSpec& spec);

// Whether a document passes Filters[]: "vpc-id" is its VpcId, "group-name" its GroupName, "tag:K", "tag-key".
bool passes_filters(const Json& document, const Json& filters);

}  // namespace weir::api
