// What the control plane asks of containers and networks. Implementations: LinuxNetwork and
// ConmonRuntime (linux namespaces, nftables, conmon + runc).
//
// All calls block (tens of milliseconds, image import longer) and run on the blocking pool; they are
// safe to call from several threads for different ids. Every `ensure_*` and `remove_*` is idempotent:
// it looks at what is there and does what is missing, so that a caller killed in the middle simply
// calls again. Errors carry one sentence with the cause and what to do next.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace weir::runtime {

// One VPC: a network namespace that holds a bridge.
struct FabricSpec {
  std::string vpc_id;  // "vpc-0123456789abcdef0"
  std::string cidr;    // "10.0.0.0/16"
};

// One rule of a security group, as nftables sees it. AWS semantics: stateful, default deny in,
// silent drop.
struct FirewallRule {
  enum class Direction { Ingress, Egress } direction = Direction::Ingress;
  std::string protocol;  // "tcp", "udp", "icmp" or "-1" (all)
  int from_port = -1;    // -1: all ports
  int to_port = -1;
  std::string cidr;      // peer range; empty when `group_id` is set
  std::string group_id;  // peer security group: its members' addresses are in FirewallSpec
  std::string comment;   // shown by `nft list ruleset`
};

struct FirewallSpec {
  std::vector<FirewallRule> rules;
  std::map<std::string, std::vector<std::string>> group_members;  // group id -> addresses
};

// One elastic network interface: a network namespace with a veth into its VPC's bridge.
struct EniSpec {
  std::string eni_id;  // "eni-0123456789abcdef0"
  std::string vpc_id;
  std::string vpc_cidr;
  std::string address;  // "10.0.1.11"
  int prefix_length = 24;
  FirewallSpec firewall;
};

struct EniInfo {
  std::string netns_path;  // for joining: setns(2) or a container's linux.namespaces[].path
};

class NetworkDriver {
 public:
  virtual ~NetworkDriver() = default;
  virtual Result<void> ensure_fabric(const FabricSpec& spec) = 0;
  virtual Result<void> remove_fabric(const std::string& vpc_id) = 0;
  virtual Result<EniInfo> ensure_eni(const EniSpec& spec) = 0;
  // More than one address in one namespace: a load balancer has one per subnet.
  virtual Result<void> add_address(const std::string& eni_id, const std::string& address,
                                   int prefix_length) = 0;
  virtual Result<void> remove_eni(const std::string& eni_id) = 0;
  // Replaces the rules of an interface in one transaction; established flows stay.
  virtual Result<void> apply_firewall(const std::string& eni_id, const FirewallSpec& spec) = 0;
  // A listening TCP socket bound inside the interface's namespace (fd, close-on-exec, non-blocking).
  virtual Result<int> listen_in(const std::string& eni_id, const std::string& address, uint16_t port) = 0;
  virtual Result<std::vector<std::string>> list_enis() = 0;
  virtual Result<std::vector<std::string>> list_fabrics() = 0;
  // "kernel" (nftables in the task's namespace) or "advisory" (the load balancer alone enforces).
  virtual std::string enforcement() const = 0;
};

struct ContainerSpec {
  std::string container_id;              // unique on the machine: "<task id>-<container name>"
  std::string image;                     // as in the task definition: "chat:latest", "host:5000/x@sha256:…"
  std::string netns_path;                // the task's ENI
  std::vector<std::string> entry_point;  // empty: the image's
  std::vector<std::string> command;      // empty: the image's
  std::vector<std::pair<std::string, std::string>> environment;  // wins over the image's
  std::string working_directory;
  std::string user;
  bool read_only_root = false;
  int64_t memory_bytes = 0;  // 0: no limit
  int64_t cpu_units = 0;     // 1024 = one core; 0: no limit
  int64_t nofile = 65535;
  bool init_process = false;
};

// Exit code of a container whose end nobody saw: its supervisor was killed, or the machine was booted.
inline constexpr int kLostExitCode = 255;

struct ContainerStatus {
  enum class State { Created, Running, Exited, Missing } state = State::Missing;
  int pid = 0;
  int exit_code = 0;  // 128 + signal when killed
  bool oom_killed = false;
};

class ContainerDriver {
 public:
  virtual ~ContainerDriver() = default;
  // Makes the image usable here (already imported: at once). Error message starts with
  // "CannotPullContainerError: " and says how to bring the image in.
  virtual Result<void> ensure_image(const std::string& image) = 0;
  // Brings an image in from `source`: a docker or OCI archive, an OCI layout folder, or a registry
  // reference as skopeo names them ("docker-archive:PATH[:TAG]", "oci:PATH", "docker://HOST/NAME:TAG").
  virtual Result<std::string> import_image(const std::string& source, const std::string& name) = 0;
  virtual Result<std::vector<std::string>> list_images() = 0;
  // Creates and starts the container; it survives the caller. Starting one that already runs does
  // nothing. Error messages start with "CannotCreateContainerError: " or "CannotStartContainerError: ".
  virtual Result<void> start(const ContainerSpec& spec) = 0;
  virtual Result<ContainerStatus> status(const std::string& container_id) = 0;
  // Waits at most `timeout_ms` for the container to end (0: no wait), then answers its status.
  virtual Result<ContainerStatus> wait(const std::string& container_id, int timeout_ms) = 0;
  // signal: "SIGTERM", …; "" means the image's STOPSIGNAL, or SIGTERM.
  virtual Result<void> kill(const std::string& container_id, const std::string& signal) = 0;
  // Kills if needed and removes bundle, overlay and cgroup; the log file stays until remove_log.
  virtual Result<void> remove(const std::string& container_id) = 0;
  virtual Result<std::vector<std::string>> list() = 0;
  // Path of the log: one "RFC3339NANO stdout|stderr F|P text" line per line written (CRI format).
  virtual std::string log_path(const std::string& container_id) const = 0;
  virtual Result<void> remove_log(const std::string& container_id) = 0;
};

struct LinuxOptions {
  std::string state_dir;  // e.g. /var/lib/weir; images, bundles, logs beneath it
  std::string instance;   // short id of the state directory: prefix of namespaces and cgroups
  // Images are pulled from registries on this machine (localhost, 127.x); true: from any host named.
  bool pull_from_any_registry = false;
};

std::unique_ptr<NetworkDriver> make_linux_network(const LinuxOptions& options);
std::unique_ptr<ContainerDriver> make_conmon_runtime(const LinuxOptions& options);

// What `weir doctor` prints: one line per capability found or missing, with the consequence.
struct DoctorLine {
  enum class Level { Ok, Warning, Missing } level = Level::Ok;
  std::string what;
  std::string detail;
};
std::vector<DoctorLine> doctor(const LinuxOptions& options);

}  // namespace weir::runtime
