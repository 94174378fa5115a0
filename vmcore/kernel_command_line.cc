#include "vmcore/kernel_command_line.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "devices/disk/disk_spec.h"
#include "devices/memory/memory_spec.h"
#include "devices/nic/nic_spec.h"
#include "vmcore/console_layout.h"
#include "vmcore/disk_links.h"
#include "vmcore/disk_message.h"
#include "vmcore/kernel_paths.h"

namespace umld::vmcore {
namespace {

constexpr size_t kMaxUmid = 63;
// UML's COMMAND_LINE_SIZE is 4096; it appends " console=tty0" itself, and exits with no word on con0 when it is full.
constexpr size_t kMaxCommandLine = 4096 - 32;

absl::Status Invalid(absl::string_view message, absl::string_view subject, absl::string_view hint) {
  return MakeError(absl::StatusCode::kInvalidArgument, message,
                   {"BAD_GUEST_CONFIG", std::string(subject), std::string(hint)});
}

bool HasArgument(const v1::GuestConfig& config, absl::string_view prefix) {
  return std::any_of(config.kernel_args().begin(), config.kernel_args().end(),
                     [prefix](const std::string& arg) { return absl::StartsWith(arg, prefix); });
}

absl::Status AppendDisks(const v1::GuestConfig& config, std::vector<std::string>* argv) {
  std::set<uint32_t> units;
  for (const v1::Disk& disk : config.disks()) {
    devices::DiskSpec spec = FromMessage(disk);
    RETURN_IF_ERROR(devices::CheckDiskSpec(spec));
    std::string name = devices::DiskName(spec.unit);
    if (!units.insert(spec.unit).second) return Invalid(absl::StrCat("disk ", name, " is given twice"), name, "");
    argv->push_back(devices::PrintDiskBootArgument(KernelDisk(spec)));
    if (spec.unit != 0 || HasArgument(config, "root=")) continue;
    argv->push_back("root=/dev/ubda");
    argv->push_back(absl::StrContains(spec.flags, 'r') ? "ro" : "rw");
  }
  if (units.count(0) == 0) argv->push_back(absl::StrCat("ubda=", kUbdaPlaceholder));
  return absl::OkStatus();
}

absl::Status AppendNics(const v1::GuestConfig& config, std::vector<std::string>* argv) {
  std::set<devices::NicDevice> given;
  for (const v1::Nic& nic : config.nics()) {
    ASSIGN_OR_RETURN(const devices::NicSpec spec, devices::ParseNicSpec(nic.spec()));
    const std::string name = devices::NicName(spec.device);
    if (!given.insert(spec.device).second)
      return Invalid(absl::StrCat("interface ", name, " is given twice"), name, "");
    argv->push_back(devices::PrintNicKernelArgument(spec));
  }
  return absl::OkStatus();
}

}  // namespace

std::string KernelUmid(const v1::GuestConfig& config) { return config.name().substr(0, kMaxUmid); }

std::string MconsoleSocketPath(const v1::GuestConfig& config) {
  return absl::StrCat(kUmlDir, "/", KernelUmid(config), "/mconsole");
}

absl::StatusOr<std::vector<std::string>> KernelArguments(const v1::GuestConfig& config) {
  if (config.name().empty()) return Invalid("the guest has no name", "", "");
  if (!absl::StartsWith(config.kernel(), "/")) {
    return Invalid(absl::StrCat("the kernel \"", config.kernel(), "\" is no absolute path"), config.kernel(), "");
  }
  RETURN_IF_ERROR(devices::CheckMemory(config.memory_bytes()));
  ASSIGN_OR_RETURN(const std::vector<devices::ConsoleSpec> consoles, ConsoleLines(config));
  std::vector<std::string> argv = {
      config.kernel(),
      devices::PrintMemoryArgument(config.memory_bytes()),
      absl::StrCat("umid=", KernelUmid(config)),
      absl::StrCat("uml_dir=", kUmlDir, "/"),
      absl::StrCat("mconsole=notify:", kNotifySocket),
  };
  for (std::string& argument : ConsoleArguments(consoles)) argv.push_back(std::move(argument));
  // The kernel looks at the first eight letters alone; what has a dot is taken for a module's parameter and is not
  // handed to init as an argument, as a bare `noreboot` would be.
  argv.push_back("noreboot.umld=1");
  argv.push_back(absl::StrCat("hostname=", config.name()));
  argv.push_back(absl::StrCat("systemd.hostname=", config.name()));
  argv.push_back("net.ifnames=0");
  // Its kernel would set 4 MiB and more aside for a while when free memory is in small pieces, to have some for huge
  // pages, which UML has not. A small guest can run out of memory over it, and that much less could be taken from it.
  argv.push_back("sysctl.vm.watermark_boost_factor=0");
  RETURN_IF_ERROR(AppendDisks(config, &argv));
  RETURN_IF_ERROR(AppendNics(config, &argv));
  argv.insert(argv.end(), config.kernel_args().begin(), config.kernel_args().end());

  size_t length = 0;
  for (size_t i = 1; i < argv.size(); ++i) length += argv[i].size() + 1;
  if (length > kMaxCommandLine) {
    return Invalid(
        absl::StrCat("the kernel's command line would have ", length, " bytes, and ", kMaxCommandLine, " is the most"),
        config.name(), "use shorter paths or fewer kernel arguments");
  }
  return argv;
}

}  // namespace umld::vmcore
