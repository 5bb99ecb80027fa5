// What the control plane tells of its load balancers' data paths: counters, open streams, frame headers.
#pragma once

#include <string>

#include "api/dispatcher.h"
#include "control/controller.h"
#include "store/store.h"

namespace weir::cli {

// Of all load balancers, in Prometheus' text format.
std::string metrics_text(store::Store& store, const control::Controller& controller);

//   DescribeStreams {LoadBalancer?, Order?, Limit?, Skip?, Filter?} -> {Open, Streams: [...], Unanswered: [names]}
//   DescribeFrames  {LoadBalancer?, Connection?, Stream?, Limit?}   -> {Lines: [...], Unanswered: [names]}
// LoadBalancer is a name or an ARN; without it all are asked.
void add_report_operations(api::Dispatcher& dispatcher, store::Store& store, control::Controller& controller);

}  // namespace weir::cli
