#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/ecs/ecs.h"

namespace weir::api {
namespace {

constexpr size_t kNameMax = 255;
constexpr size_t kDescribeMax = 100;

void check_name(const std::string& name) {
  bool valid = !name.empty() && name.size() <= kNameMax && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_';
  });
  if (!valid) {
    raise("InvalidParameterException", "Cluster name can contain only letters, numbers, hyphens and underscores, and "
                                       "must not be longer than 255 characters.");
  }
}

Json checked_settings(const Json& input) {
  Json settings = array(input, "settings");
  for (const auto& setting : settings) {
    if (text(setting, "name") != "containerInsights") {
      raise("InvalidParameterException", fmt::format("Invalid cluster setting '{}'.", text(setting, "name")));
    }
  }
  if (settings.empty()) settings.push_back({{"name", "containerInsights"}, {"value", "disabled"}});
  return settings;
}

void count(Context& context, Json& cluster) {
  std::string id = text(cluster, "clusterArn");
  int running = 0;
  int pending = 0;
  int services = 0;
  for (const auto& task : list_where(context, kTaskKind, "clusterArn", id)) {
    std::string status = text(task, "lastStatus");
    if (status == "RUNNING") ++running;
    if (status == "PENDING" || status == "PROVISIONING" || status == "ACTIVATING") ++pending;
  }
  for (const auto& service : list_where(context, kServiceKind, "clusterArn", id)) {
    if (text(service, "status") == "ACTIVE") ++services;
  }
  cluster["runningTasksCount"] = running;
  cluster["pendingTasksCount"] = pending;
  cluster["activeServicesCount"] = services;
}

Json shown(Context& context, Json cluster, const Json& input) {
  count(context, cluster);
  if (!includes(input, "TAGS")) cluster["tags"] = Json::array();
  if (!includes(input, "SETTINGS")) cluster["settings"] = Json::array();
  return public_view(std::move(cluster));
}

Json create_cluster(Context& context, const Json& input) {
  std::string name = text(input, "clusterName", "default");
  check_name(name);
  std::string id = arn(context, "ecs", "cluster/" + name);
  Json settings = checked_settings(input);
  Json tags = ecs_tags_of(input);
  Json cluster;
  transaction(context, [&] {
    cluster = find(context, kClusterKind, id);
    if (cluster.is_object() && cluster["status"] == "ACTIVE") return;
    cluster = {{"clusterArn", id},
               {"clusterName", name},
               {"status", "ACTIVE"},
               {"registeredContainerInstancesCount", 0},
               {"runningTasksCount", 0},
               {"pendingTasksCount", 0},
               {"activeServicesCount", 0},
               {"statistics", Json::array()},
               {"settings", settings},
               {"capacityProviders", array(input, "capacityProviders")},
               {"defaultCapacityProviderStrategy", array(input, "defaultCapacityProviderStrategy")},
               {"tags", tags}};
    put(context, kClusterKind, id, cluster);
  });
  return {{"cluster", public_view(cluster)}};
}

Json describe_clusters(Context& context, const Json& input) {
  Json names = array(input, "clusters");
  if (names.empty()) names.push_back("default");
  if (names.size() > kDescribeMax) raise("InvalidParameterException", "Clusters cannot have more than 100 elements.");
  Json found = Json::array();
  Json failures = Json::array();
  for (const auto& name : names) {
    std::string id = cluster_arn(context, {{"cluster", name}});
    Json cluster = find(context, kClusterKind, id);
    if (cluster.is_null()) {
      failures.push_back({{"arn", id}, {"reason", "MISSING"}});
    } else {
      found.push_back(shown(context, cluster, input));
    }
  }
  return {{"clusters", found}, {"failures", failures}};
}

Json list_clusters(Context& context, const Json&) {
  Json arns = Json::array();
  for (const auto& cluster : list(context, kClusterKind)) {
    if (cluster["status"] == "ACTIVE") arns.push_back(cluster["clusterArn"]);
  }
  return {{"clusterArns", arns}};
}

Json update_cluster(Context& context, const Json& input) {
  Json cluster;
  transaction(context, [&] {
    cluster = load_cluster(context, input);
    if (has(input, "settings")) cluster["settings"] = checked_settings(input);
    if (has(input, "capacityProviders")) cluster["capacityProviders"] = array(input, "capacityProviders");
    if (has(input, "defaultCapacityProviderStrategy")) {
      cluster["defaultCapacityProviderStrategy"] = array(input, "defaultCapacityProviderStrategy");
    }
    put(context, kClusterKind, text(cluster, "clusterArn"), cluster);
  });
  return {{"cluster", public_view(cluster)}};
}

Json delete_cluster(Context& context, const Json& input) {
  if (!has(input, "cluster")) raise("ClientException", "Cluster can not be blank.");
  Json cluster;
  transaction(context, [&] {
    cluster = load_cluster(context, input);
    std::string id = text(cluster, "clusterArn");
    for (const auto& service : list_where(context, kServiceKind, "clusterArn", id)) {
      if (text(service, "status") == "INACTIVE") continue;
      raise("ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.");
    }
    for (const auto& task : list_where(context, kTaskKind, "clusterArn", id)) {
      if (text(task, "lastStatus") == "STOPPED") continue;
      raise("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.");
    }
    erase(context, kClusterKind, id);
    cluster["status"] = "INACTIVE";
  });
  return {{"cluster", public_view(cluster)}};
}

}  // namespace

std::string short_name(const std::string& name_or_arn) {
  size_t slash = name_or_arn.rfind('/');
  return slash == std::string::npos ? name_or_arn : name_or_arn.substr(slash + 1);
}

std::string cluster_arn(const Context& context, const Json& input) {
  std::string name = text(input, "cluster", "default");
  return name.starts_with("arn:") ? name : arn(context, "ecs", "cluster/" + name);
}

Json load_cluster(Context& context, const Json& input) {
  ApiError missing{"ClusterNotFoundException", "Cluster not found.", 400};
  Json cluster = load(context, kClusterKind, cluster_arn(context, input), missing);
  if (cluster["status"] != "ACTIVE") throw missing;
  return cluster;
}

bool includes(const Json& input, const char* what) {
  for (const auto& item : array(input, "include")) {
    if (item == what) return true;
  }
  return false;
}

void add_cluster_operations(Dispatcher& dispatcher, Context& context) {
  add(dispatcher, context, "ecs",
      {{"CreateCluster", create_cluster},
       {"DescribeClusters", describe_clusters},
       {"ListClusters", list_clusters},
       {"UpdateCluster", update_cluster},
       {"UpdateClusterSettings", update_cluster},
       {"PutClusterCapacityProviders", update_cluster},
       {"DeleteCluster", delete_cluster}});
}

void add_ecs_operations(Dispatcher& dispatcher, Context& context) {
  add_cluster_operations(dispatcher, context);
  add_task_definition_operations(dispatcher, context);
  add_service_operations(dispatcher, context);
  add_task_operations(dispatcher, context);
  add_ecs_tag_operations(dispatcher, context);
}

}  // namespace weir::api
