#include "kernel/kernel_features.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace umld::kernel {
namespace {

using Named = std::pair<const char*, const char*>;

// The symbols that are "y": what is a module is not there until the guest loads it.
std::set<absl::string_view> BuiltIn(const std::vector<std::string>& config) {
  std::set<absl::string_view> symbols;
  for (absl::string_view line : config) {
    if (absl::ConsumePrefix(&line, "CONFIG_") && absl::ConsumeSuffix(&line, "=y")) symbols.insert(line);
  }
  return symbols;
}

}  // namespace

KernelFeatures FeaturesOf(const KernelText& text) {
  constexpr Named kNetwork[] = {
      {"UML_NET_TUNTAP", "tuntap"}, {"UML_NET_ETHERTAP", "ethertap"}, {"UML_NET_SLIP", "slip"},
      {"UML_NET_DAEMON", "daemon"}, {"UML_NET_VDE", "vde"},           {"UML_NET_MCAST", "mcast"},
      {"UML_NET_PCAP", "pcap"},     {"UML_NET_SLIRP", "slirp"},       {"UML_NET_VECTOR", "vector"}};
  constexpr Named kConsoles[] = {
      {"NULL_CHAN", "null"}, {"PORT_CHAN", "port"}, {"PTY_CHAN", "pty"}, {"TTY_CHAN", "tty"}, {"XTERM_CHAN", "xterm"}};
  KernelFeatures features;
  features.config_known = !text.config.empty();
  if (!features.config_known) return features;
  const std::set<absl::string_view> built_in = BuiltIn(text.config);
  const auto has = [&](absl::string_view symbol) { return built_in.count(symbol) > 0; };
  features.ubd = has("BLK_DEV_UBD");
  features.mconsole = has("MCONSOLE");
  for (const auto& [symbol, name] : kNetwork) {
    if (has(symbol)) features.network.emplace_back(name);
  }
  // Channels to descriptors have no option of their own.
  features.consoles.emplace_back("fd");
  for (const auto& [symbol, name] : kConsoles) {
    if (has(symbol)) features.consoles.emplace_back(name);
  }
  features.serial_lines = has("SSL");
  features.virtio = has("VIRTIO_UML");
  features.smp = has("SMP");
  features.hostfs = has("HOSTFS");
  features.modules = has("MODULES");
  features.dev_mem = has("DEVMEM") || has("DEVKMEM");
  features.initrd = has("BLK_DEV_INITRD");
  // Kernels before 2.6.24 had both modes, and took tt where it was built in and the host had no skas.
  features.process_mode = has("MODE_TT") ? "tt" : text.has_seccomp_mode ? "ptrace or seccomp" : "ptrace";
  return features;
}

bool ReadsCowRight(const KernelText& text) {
  return absl::EndsWith(text.version, "-umld") && absl::StrContains(text.banner, " (umld@umld) ");
}

std::vector<std::string> WarningsOf(const KernelText& text, const KernelFeatures& features) {
  std::vector<std::string> warnings;
  if (!features.config_known) warnings.push_back("It does not say how it was configured.");
  if (features.process_mode == "tt") {
    warnings.push_back(
        "tt mode: every process of the guest can write to its kernel. There is no wall inside the guest; a strict "
        "guest "
        "still has its jail.");
  }
  if (text.has_seccomp_mode) {
    warnings.push_back(
        "Seccomp mode (argument seccomp=on or auto): by its own help text insecure, \"should only be used with a "
        "trusted "
        "userspace\", because processes can write to all of the guest's memory. Untrusted guests are refused the "
        "argument.");
  }
  if (features.modules) {
    warnings.push_back(
        "Loadable modules: root in the guest can run code as the kernel's process. In a strict guest that reaches the "
        "jail, which holds nothing of the host.");
  }
  if (features.dev_mem) {
    warnings.push_back(
        "/dev/mem: root in the guest can write to its kernel, with the same result as loadable modules.");
  }
  if (features.hostfs) {
    warnings.push_back(
        "hostfs: root in the guest can mount what the kernel's process sees. Of a strict guest that is its jail; of a "
        "relaxed one all that umld's user can reach, whatever hostfs= says.");
  }
  if (features.config_known && !features.mconsole) {
    warnings.push_back(
        "No mconsole (CONFIG_MCONSOLE): umld cannot tell when it is up, plug devices or stop it in order.");
  }
  if (features.config_known && !features.ubd) warnings.push_back("No disks (CONFIG_BLK_DEV_UBD).");
  if (features.config_known && features.network.empty()) warnings.push_back("No network interfaces.");
  if (text.version.empty()) warnings.push_back("It does not say its version.");
  return warnings;
}

}  // namespace umld::kernel
