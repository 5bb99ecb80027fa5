// Security groups as an nftables table, one per ENI, inside the ENI's own namespace.
//
// AWS semantics: stateful, default deny in, silent drop, everything out unless egress rules are given
// (docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html). One named set per referenced
// group. Loopback traffic is not filtered.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/driver.h"

namespace weir::runtime {

// The whole table as one nft transaction that replaces its predecessor. Fails on an address, range,
// port or protocol that makes no sense, so that nothing unchecked reaches nft.
Result<std::string> firewall_script(const FirewallSpec& spec);

// Runs `nft` with the script inside the namespace: all of it takes effect, or nothing.
Result<void> load_firewall(const std::string& netns_path, const FirewallSpec& spec);

}  // namespace weir::runtime
