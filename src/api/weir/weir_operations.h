// Operations that AWS has no name for (target prefix "Weir").
//
//   PutSettings      {PortMap: {"443": 8443}, Address}   for load balancers made from now on
//   DescribeStatus   {StackName?}                        stacks with load balancers, health, services, tasks
//   FindLogs         {Name}                              containers of a service, a task or a container
//   ReadLog          {ContainerId, Offset?, Tail?, Limit?}
//   DescribeAuthority {}                                 the CA certificate and its path
//   DescribeRemains  {}                                  what is still being taken down, and stacks that exist
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "api/support.h"

namespace weir::api {

Json describe_status(const Dispatcher& dispatcher, Context& context, const Json& input);

}  // namespace weir::api
