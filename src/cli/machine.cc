// Commands about this machine: image, ca, doctor.
#include <unistd.h>

#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "api/acm/local_ca.h"
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/instance.h"
#include "cli/output.h"
#include "cli/run.h"
#include "runtime/driver.h"

namespace weir::cli {

using nlohmann::json;

namespace {

// "chat:latest" from "docker-archive:/x/chat.tar" when no name is given.
std::string image_name_of(const std::string& source) {
  std::string rest = source.substr(source.find(':') + 1);
  if (source.starts_with("docker://")) return rest.substr(2);
  std::string stem = std::filesystem::path(rest).stem().string();
  return stem.find(':') == std::string::npos ? stem + ":latest" : stem;
}

int import_image(const Options& options, runtime::ContainerDriver& driver) {
  const std::string& source = options.image.source;
  std::string name = options.image.name.empty() ? image_name_of(source) : options.image.name;
  note(fmt::format("Importing {} as {} …\n", source, name));
  auto imported = driver.import_image(source, name);
  if (!imported) {
    note(fmt::format("weir image import: {}\n", imported.error().message));
    return kFailed;
  }
  if (options.common.json) {
    print_json({{"Name", name}, {"Digest", *imported}});
  } else {
    print(fmt::format("{} is here ({}).\n", name, *imported));
  }
  return kOk;
}

}  // namespace

int image(const Options& options) {
  if (geteuid() != 0) {
    note("weir image: images are unpacked with the owners of their files, which needs root; try sudo.\n");
    return kFailed;
  }
  std::string state_dir = prepared_state_dir(options.common.state_dir);
  auto driver = runtime::make_conmon_runtime({state_dir, instance_id(state_dir)});
  if (!options.image.list) return import_image(options, *driver);
  auto images = driver->list_images();
  if (!images) {
    note(fmt::format("weir image list: {}\n", images.error().message));
    return kFailed;
  }
  if (options.common.json) {
    print_json(*images);
  } else {
    for (const auto& name : *images) print(name + "\n");
  }
  return kOk;
}

int ca(const Options& options) {
  SystemClock clock;
  std::string state_dir = prepared_state_dir(options.common.state_dir);
  auto authority = api::LocalCa::open(state_dir + "/ca", clock.unix_ms() / 1000);
  if (!authority) {
    note(fmt::format("weir ca: {}\n", authority.error().message));
    return kFailed;
  }
  const std::string& path = (*authority)->certificate_path();
  if (options.common.json) {
    print_json({{"Path", path}, {"Certificate", (*authority)->certificate_pem()}});
  } else {
    print(options.ca.path_only ? path + "\n" : (*authority)->certificate_pem());
  }
  return kOk;
}

int doctor(const Options& options) {
  std::string state_dir = prepared_state_dir(options.common.state_dir);
  bool missing = false;
  json lines = json::array();
  Table table(0);
  for (const auto& line : runtime::doctor({state_dir, instance_id(state_dir)})) {
    using Level = runtime::DoctorLine::Level;
    missing = missing || line.level == Level::Missing;
    const char* level = line.level == Level::Ok ? "ok" : line.level == Level::Warning ? "warning" : "missing";
    Color color = line.level == Level::Ok ? Color::Good : line.level == Level::Warning ? Color::Warn : Color::Bad;
    lines.push_back({{"Level", level}, {"What", line.what}, {"Detail", line.detail}});
    table.row({paint(color, level), line.what, line.detail});
  }
  if (options.common.json) {
    print_json(lines);
  } else {
    print(table.text());
  }
  return missing ? kFailed : kOk;
}

}  // namespace weir::cli
