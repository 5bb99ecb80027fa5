// Settings of the control plane; everything that takes time can be set so that tests need no real time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"

namespace weir::control {

struct ControllerOptions {
  std::string state_dir;              // "lb/" (sockets, locks) and "logs/" are made beneath it
  std::string region = "us-east-1";
  std::string account = "000000000000";

  // The program that is a load balancer, with its leading arguments: {"/usr/bin/weir", "lb"}. Appended:
  //   --link PATH --load-balancer ARN --workers N [--user NAME]
  // It starts in the network namespace of its VPC, in an own session, standard input from /dev/null,
  // output to state_dir/logs/lb-ID.log. Descriptor 3 is a lock that tells others that it lives: it must
  // stay open (and not be inherited by children) until the process ends.
  std::vector<std::string> balancer_command;
  int lb_workers = 2;
  std::string lb_user;                // empty: the balancer keeps our user

  Duration service_tick = std::chrono::seconds(10);       // a service in steady state is looked at this often
  Duration task_poll = std::chrono::milliseconds(150);    // containers whose end no pidfd tells
  Duration task_poll_watched = std::chrono::seconds(5);   // containers whose end a pidfd tells
  Duration eni_timeout = std::chrono::minutes(3);
  Duration stopped_task_kept = std::chrono::hours(1);
  Duration start_backoff_min = std::chrono::seconds(1);   // between launches after repeated failures to start
  Duration start_backoff_max = std::chrono::minutes(15);
  Duration early_exit_backoff_max = std::chrono::seconds(30);  // after tasks that ran and died at once
  Duration no_health_check_settle = std::chrono::seconds(40);  // RUNNING this long counts as healthy (ECS)
  Duration port_retry = std::chrono::seconds(2);
  Duration lb_restart_min = std::chrono::milliseconds(100);
  Duration lb_restart_max = std::chrono::seconds(10);
  Duration lb_shutdown_drain = std::chrono::seconds(5);    // streams left when a load balancer is deleted
  Duration lb_welcome_bound = std::chrono::seconds(10);    // a balancer that does not answer is connected anew
  Duration lb_shutdown_bound = std::chrono::seconds(10);  // after the drain: SIGKILL
  Duration barrier_bound = std::chrono::seconds(2);       // when_deregistered() answers after this at the latest
};

}  // namespace weir::control
