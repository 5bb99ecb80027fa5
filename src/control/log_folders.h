// Where a load balancer's logs go: ALB's buckets are folders beneath the state directory.
//
//   STATE/s3/BUCKET[/PREFIX]/AWSLogs/ACCOUNT/elasticloadbalancing/REGION/yyyy/mm/dd/FILE
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "control/options.h"
#include "model/snapshot.h"


namespace weir::control {

struct LogPlaces {
  std::string root;     // STATE/s3
  std::string account;
  std::string region;
};
// The files of one log ("access_logs", "connection_logs" or "health_check_logs") as the balancer's attributes have it;
// an empty directory when it is off, or its bucket or prefix would lead out of the root.
model::LogFiles log_files(const LogPlaces& places, const std::string& load_balancer_arn,
                          const nlohmann::json& attributes, const std::string& log);
// Makes the folder, owned by `user` (empty: ours), who writes there.
Result<void> make_log_folder(const std::string& directory, const std::string& user);

}  // namespace weir::control
