#include "model/snapshot.h"

namespace weir::model {

std::string_view to_string(TargetState state) {
  switch (state) {
    case TargetState::Initial: return "initial";
    case TargetState::Healthy: return "healthy";
    case TargetState::Unhealthy: return "unhealthy";
    case TargetState::Unused: return "unused";
    case TargetState::Draining: return "draining";
  }
  return "";
}

std::string_view to_string(HealthReason reason) {
  switch (reason) {
    case HealthReason::None: return "";
    case HealthReason::RegistrationInProgress: return "Elb.RegistrationInProgress";
    case HealthReason::InitialHealthChecking: return "Elb.InitialHealthChecking";
    case HealthReason::ResponseCodeMismatch: return "Target.ResponseCodeMismatch";
    case HealthReason::Timeout: return "Target.Timeout";
    case HealthReason::FailedHealthChecks: return "Target.FailedHealthChecks";
    case HealthReason::InternalError: return "Elb.InternalError";
    case HealthReason::NotInUse: return "Target.NotInUse";
    case HealthReason::DeregistrationInProgress: return "Target.DeregistrationInProgress";
  }
  return "";
}

}  // namespace weir::model
