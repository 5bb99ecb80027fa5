#include "loadgen/cpu_meter.h"

#include <dirent.h>

#include <cstdio>
#include <string>

namespace weir::bench {

uint64_t cpu_nanos(const std::vector<pid_t>& pids) {
  uint64_t sum = 0;
  for (pid_t pid : pids) {
    std::string folder = "/proc/" + std::to_string(pid) + "/task";
    DIR* tasks = opendir(folder.c_str());
    if (tasks == nullptr) continue;
    while (dirent* task = readdir(tasks)) {
      if (task->d_name[0] == '.') continue;
      std::FILE* file = std::fopen((folder + "/" + task->d_name + "/schedstat").c_str(), "r");
      if (file == nullptr) continue;
      unsigned long long on_cpu = 0;
      if (std::fscanf(file, "%llu", &on_cpu) == 1) sum += on_cpu;
      std::fclose(file);
    }
    closedir(tasks);
  }
  return sum;
}

}  // namespace weir::bench
