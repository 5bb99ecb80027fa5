#include "api/context.h"
#include "api/dispatcher.h"

namespace weir::api {

void add_all_operations(Dispatcher& dispatcher, Context& context) {
  add_ec2_operations(dispatcher, context);
  add_elbv2_operations(dispatcher, context);
  add_ecs_operations(dispatcher, context);
  add_acm_operations(dispatcher, context);
  add_logs_operations(dispatcher, context);
  add_iam_operations(dispatcher, context);
  add_sts_operations(dispatcher, context);
  add_weir_operations(dispatcher, context);
}

}  // namespace weir::api
