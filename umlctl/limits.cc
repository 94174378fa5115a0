#include "umlctl/limits.h"

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/byte_size.h"
#include "base/status.h"

namespace umld::umlctl {
namespace {

constexpr char kDefault[] = "default";

absl::StatusOr<uint32_t> Number(const std::string& option, absl::string_view text, const std::string& example) {
  uint32_t number = 0;
  if (absl::SimpleAtoi(text, &number) && number > 0) return number;
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(option, ": \"", text, "\" is no such limit"),
                   {"INVALID_LIMIT", "", absl::StrCat("give it as ", example, ", or as default")});
}

}  // namespace

void AddLimits(CLI::App* verb, LimitWords& words) {
  verb->add_option("--cpu", words.cpu, "CPU time at most, 100% for one whole CPU; default: no limit")
      ->option_text("PERCENT%");
  verb->add_option("--memory-max", words.memory,
                   "memory of the host at most, the kernel's own and its disks' cache included; default: some more "
                   "than the guest's memory")
      ->option_text("SIZE");
  verb->add_option("--pids", words.pids, "processes of the host at most, one for each of the guest's; default: 4096")
      ->option_text("NUMBER");
  verb->add_option("--disk-bandwidth", words.disk_bandwidth,
                   "bytes per second between its disks and the host's devices, as 50M, reads and writes each; default: "
                   "no limit")
      ->option_text("SIZE");
  verb->add_option("--disk-iops", words.disk_iops,
                   "operations per second on the host's devices, reads and writes each; default: no limit")
      ->option_text("NUMBER");
}

absl::Status ApplyLimits(const LimitWords& words, v1::Limits* limits) {
  if (words.cpu == kDefault) {
    limits->clear_cpu_percent();
  } else if (!words.cpu.empty()) {
    ASSIGN_OR_RETURN(const uint32_t percent, Number("--cpu", absl::StripSuffix(words.cpu, "%"), "150%"));
    limits->set_cpu_percent(percent);
  }
  if (words.memory == kDefault) {
    limits->clear_memory_bytes();
  } else if (!words.memory.empty()) {
    ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(words.memory));
    limits->set_memory_bytes(bytes);
  }
  if (words.pids == kDefault) {
    limits->clear_processes();
  } else if (!words.pids.empty()) {
    ASSIGN_OR_RETURN(const uint32_t processes, Number("--pids", words.pids, "512"));
    limits->set_processes(processes);
  }
  if (words.disk_bandwidth == kDefault) {
    limits->clear_disk_bytes_per_second();
  } else if (!words.disk_bandwidth.empty()) {
    ASSIGN_OR_RETURN(const uint64_t bytes, ParseByteSize(words.disk_bandwidth));
    limits->set_disk_bytes_per_second(bytes);
  }
  if (words.disk_iops == kDefault) {
    limits->clear_disk_operations_per_second();
  } else if (!words.disk_iops.empty()) {
    ASSIGN_OR_RETURN(const uint32_t operations, Number("--disk-iops", words.disk_iops, "500"));
    limits->set_disk_operations_per_second(operations);
  }
  return absl::OkStatus();
}

}  // namespace umld::umlctl
