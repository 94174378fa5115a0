// libFuzzer: any packet that arrives at a vmcore's socket, and any launch message. What it accepts it can pass on.
// Links with base/byte_size.cc base/status.cc base/utf8.cc devices/spec_text.cc devices/console/console_spec.cc
// Links with devices/disk/disk_spec.cc devices/memory/memory_spec.cc devices/nic/nic_fields.cc devices/nic/nic_spec.cc
// Links with proto/vmcore/vmcore.proto vmcore/console_layout.cc vmcore/disk_links.cc vmcore/kernel_command_line.cc
// Links with vmcore/mconsole_policy.cc vmcore/protocol.cc
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "devices/console/console_spec.h"
#include "devices/disk/disk_spec.h"
#include "devices/memory/memory_spec.h"
#include "devices/nic/nic_spec.h"
#include "vmcore/console_layout.h"
#include "vmcore/disk_message.h"
#include "vmcore/kernel_command_line.h"
#include "vmcore/mconsole_policy.h"
#include "vmcore/protocol.h"

namespace {

using namespace umld::vmcore;  // NOLINT: all of it is under test

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckConfig(const v1::GuestConfig& config) {
  const auto arguments = KernelArguments(config);
  if (!arguments.ok()) return Require(!arguments.status().message().empty());
  size_t length = 0;
  for (const std::string& argument : *arguments) length += argument.size() + 1;
  Require(length < 4096 + config.kernel().size() + 1);
  Require(arguments->front() == config.kernel() && config.disks_size() <= 16);
  Require(MconsoleSocketPath(config).size() < 108);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  v1::Launch launch;
  if (launch.ParseFromArray(data, static_cast<int>(size))) CheckConfig(launch.config());
  const auto frame = DecodeFrame(bytes);
  if (!frame.ok()) return 0;
  const auto again = DecodeFrame(EncodeFrame(*frame));
  Require(again.ok() && EncodeFrame(*again) == EncodeFrame(*frame));
  const v1::Request& request = frame->request();
  CheckConfig(request.set_config().config());
  (void)JudgeRawCommand(request.mconsole().command(), request.mconsole().force());
  const umld::devices::DiskSpec disk = FromMessage(request.plug_disk().disk());
  if (umld::devices::CheckDiskSpec(disk).ok()) {
    Require(umld::devices::ParseDiskSpec(umld::devices::PrintDiskSpec(disk)).ok());
  }
  (void)umld::devices::ParseNicSpec(request.plug_nic().nic().spec());
  (void)umld::devices::ParseNicName(request.unplug_nic().device());
  if (frame->reply().has_error()) {
    const absl::Status status = FromWireError(frame->reply().error());
    Require(!status.ok() && DecodeFrame(EncodeFrame(*frame)).ok());
    Require(FromWireError(ToWireError(status)).code() == status.code());
  }
  return 0;
}
