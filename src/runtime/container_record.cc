#include "runtime/container_record.h"

#include <nlohmann/json.hpp>

#include "runtime/files.h"

namespace weir::runtime {

using nlohmann::json;

Result<ContainerRecord> read_record(const std::string& path) {
  WEIR_TRY_ASSIGN(std::string text, read_file(path));
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  ContainerRecord record;
  try {
    record.started = value.at("started").get<bool>();
    record.boot_id = value.at("boot_id").get<std::string>();
    record.pid = value.at("pid").get<int>();
    record.start_time = value.at("start_time").get<uint64_t>();
    record.image_id = value.at("image_id").get<std::string>();
    record.stop_signal = value.at("stop_signal").get<std::string>();
  } catch (const json::exception& error) {
    return fail(path + ": " + error.what());
  }
  return record;
}

Result<void> write_record(const std::string& path, const ContainerRecord& record) {
  json value = {{"started", record.started},   {"boot_id", record.boot_id},
                {"pid", record.pid},           {"start_time", record.start_time},
                {"image_id", record.image_id}, {"stop_signal", record.stop_signal}};
  // A crash of the machine ends the container too: no fsync.
  return write_file(path, value.dump() + "\n", Sync::No);
}

}  // namespace weir::runtime
