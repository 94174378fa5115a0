#include "vmcore/nics.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "vmcore/jail_controls.h"
#include "vmcore/log.h"

namespace umld::vmcore {
namespace {

using devices::HostEnd;
using devices::NicDevice;
using devices::NicSpec;
using devices::NicTransport;

constexpr char kRecord[] = "taps";
constexpr size_t kMaxRecordBytes = 64 * 1024;
// The kernel's own words.
constexpr char kConfigured[] = "Device already configured";
constexpr char kNoDriver[] = "Bad configuration option";

std::string Subject(const NicDevice& device) { return absl::StrCat("nics/", devices::NicName(device)); }

absl::Status NoSwitch(const std::string& path, absl::string_view what, const char* hint) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, ": ", what), {"NO_SWITCH", path, hint});
}

constexpr char kDaemonHint[] = "start `uml_switch -unix SOCKET` and give its socket";
constexpr char kVdeHint[] = "start `vde_switch -s FOLDER` and give its folder";

// A kernel that opens anything else than a socket there may hang, and one that finds nobody behind it makes an
// interface that cannot come up.
absl::Status CheckSocket(const std::string& path, int type, const char* hint) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return NoSwitch(path, strerror(errno), hint);
  if (!S_ISSOCK(info.st_mode)) return NoSwitch(path, "this is no socket of a switch", hint);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return NoSwitch(path, "the path is too long for a socket", hint);
  strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  UniqueFd fd(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.ok()) return ErrnoError(errno, "socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EAGAIN) {
    return absl::OkStatus();
  }
  if (errno == EACCES) return ErrnoError(errno, absl::StrCat("connect to ", path));
  return NoSwitch(path, errno == ECONNREFUSED ? "no switch listens there" : strerror(errno), hint);
}

absl::Status CheckVde(const std::string& folder) {
  struct stat info = {};
  if (stat(folder.c_str(), &info) != 0) return NoSwitch(folder, strerror(errno), kVdeHint);
  if (!S_ISDIR(info.st_mode)) return NoSwitch(folder, "a vde_switch is named by its folder", kVdeHint);
  return CheckSocket(folder + "/ctl", SOCK_STREAM, kVdeHint);
}

// For a raw socket on an interface of the host.
absl::Status CheckRaw(const std::string& interface) {
  if (devices::InterfaceIndex(interface) == 0) {
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat("the host has no interface ", interface),
                     {"NO_SUCH_INTERFACE", interface, "`ip link` shows those that there are"});
  }
  UniqueFd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (fd.ok()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied, "this user may not open raw sockets",
                   {"RAW_DENIED", interface, "run umld as root, or use a tap"});
}

absl::Status Refusal(const NicSpec& spec, const MconsoleAnswer& answer) {
  const std::string name = devices::NicName(spec.device);
  const std::string transport(devices::NicTransportName(spec.transport));
  if (absl::StrContains(answer.text, kConfigured)) {
    return MakeError(absl::StatusCode::kAlreadyExists, "the running kernel has an interface there already",
                     {"NIC_EXISTS", Subject(spec.device), "unplug it first, or take another number"});
  }
  std::string text = answer.text;
  std::string hint = "see the guest's kernel messages (con0)";
  if (text == kNoDriver) {
    text = absl::StrCat("it has no ", spec.device.vector ? "vec" : "eth", " interfaces");
    hint = absl::StrCat("use a kernel with CONFIG_UML_NET", spec.device.vector ? "_VECTOR" : "");
  } else if (text.empty()) {
    text = absl::StrCat("it has no transport ", transport);
    hint = absl::StrCat("use a kernel with CONFIG_UML_NET_", absl::AsciiStrToUpper(transport),
                        ", or vec0:transport=tap; one that was paused while it booted is to be resumed first");
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the guest's kernel refuses ", name, ": ", text),
                   {"KERNEL_REFUSED", Subject(spec.device), hint});
}

absl::Status Busy(const NicDevice& device) {
  const std::string name = devices::NicName(device);
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat(name, " is up in the guest (kernel error -16)"),
                   {"DEVICE_BUSY", Subject(device),
                    absl::StrCat("inside the guest: ip link set ", name, " down, then unplug again")});
}

}  // namespace

Nics::Nics(EventLoop* loop, std::function<void()> changed, EventLoop::Clock::duration deadline)
    : changed_(std::move(changed)), deadline_(deadline), changes_(loop) {}

// ---------------------------------------------------------------- the host's ends

absl::Status Nics::RemoveRecordedTaps() {
  absl::StatusOr<std::string> record = ReadFile(kRecord, kMaxRecordBytes);
  if (absl::IsNotFound(record.status())) return absl::OkStatus();
  RETURN_IF_ERROR(record.status());
  absl::Status first;
  for (const HostEnd& tap : devices::ParseTapRecord(*record)) first.Update(devices::CloseTap(tap));
  if (first.ok()) unlink(kRecord);
  return first;
}

absl::Status Nics::Record(const HostEnd* more) const {
  std::vector<HostEnd> taps;
  for (const auto& [device, nic] : nics_) {
    if (nic.host.has_value()) taps.push_back(*nic.host);
  }
  if (more != nullptr) taps.push_back(*more);
  if (!taps.empty()) return WriteFileDurably(kRecord, devices::PrintTapRecord(taps), 0600);
  unlink(kRecord);
  return absl::OkStatus();
}

void Nics::Confine(devices::ExistingTap existing) {
  confined_ = true;
  existing_ = existing;
}

int Nics::GiveTap(const std::string& name, unsigned flags, UniqueFd* attached) const {
  if (IsRemoved("taps")) {
    return devices::AttachToTap({name, devices::InterfaceIndex(name), false, ""}, flags, attached);
  }
  for (const auto& [device, nic] : nics_) {
    if (nic.host.has_value() && nic.host->name == name) return devices::AttachToTap(*nic.host, flags, attached);
  }
  return EPERM;
}

absl::Status Nics::OpenHost(const NicSpec& spec, Nic* nic) {
  for (const auto& [device, other] : nics_) {
    if (!other.host.has_value() || other.host->name != spec.interface) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("the tap ", spec.interface, " is this guest's ", devices::NicName(device)),
                     {"TAP_BUSY", spec.interface, "one tap is one interface; use another"});
  }
  absl::StatusOr<HostEnd> tap = devices::OpenTap(spec.interface, spec.host_address, existing_,
                                                 [this](const HostEnd& made) { return Record(&made); });
  if (tap.ok()) {
    nic->host = *tap;
    return absl::OkStatus();
  }
  // It may have been recorded already.
  if (absl::Status recorded = Record(nullptr); !recorded.ok()) Log(recorded.message());
  return tap.status();
}

// The host's end of `spec`, and its entry.
absl::Status Nics::Open(const NicSpec& spec) {
  if (confined_) RETURN_IF_ERROR(devices::CheckConfinedNic(spec));
  Nic nic = {spec, std::nullopt};
  switch (spec.transport) {
    case NicTransport::kTuntap:
    case NicTransport::kTap:
    case NicTransport::kHybrid: {
      RETURN_IF_ERROR(OpenHost(spec, &nic));
      nics_[spec.device] = nic;
      if (spec.transport != NicTransport::kHybrid) return absl::OkStatus();
      absl::Status raw = CheckRaw(spec.interface);
      if (!raw.ok()) Close(spec.device);
      return raw;
    }
    case NicTransport::kRaw:
      RETURN_IF_ERROR(CheckRaw(spec.interface));
      break;
    case NicTransport::kDaemon:
      RETURN_IF_ERROR(CheckSocket(spec.socket, SOCK_STREAM, kDaemonHint));
      break;
    case NicTransport::kVde:
      RETURN_IF_ERROR(CheckVde(spec.socket));
      break;
    case NicTransport::kMcast:
    case NicTransport::kUcast:
    case NicTransport::kGre:
    case NicTransport::kL2tpv3:
      break;
  }
  nics_[spec.device] = nic;
  return absl::OkStatus();
}

// A kernel that is not to be trusted says that it has let go of a tap, has it still, and the tap is not ours to remove.
bool Nics::IsHeld(const NicDevice& device) const {
  const Nic& nic = nics_.at(device);
  UniqueFd attached;
  return confined_ && nic.host.has_value() && !nic.host->made &&
         devices::AttachToTap(*nic.host, IFF_TAP | IFF_NO_PI, &attached) == EBUSY;
}

// The entry goes, and what was made for it.
void Nics::Close(const NicDevice& device) {
  auto found = nics_.find(device);
  if (found == nics_.end()) return;
  const Nic nic = found->second;
  nics_.erase(found);
  if (!nic.host.has_value()) return;
  absl::Status closed = devices::CloseTap(*nic.host);
  if (!closed.ok()) Log(absl::StrCat("interface ", nic.host->name, ": ", closed.message()));
  // One that cannot be removed yet stays recorded, for whoever comes after us.
  absl::Status recorded = Record(closed.ok() ? nullptr : &*nic.host);
  if (!recorded.ok()) Log(recorded.message());
}

absl::Status Nics::PrepareBoot(const v1::GuestConfig& config) {
  std::map<NicDevice, NicSpec> wanted;
  for (const v1::Nic& nic : config.nics()) {
    ASSIGN_OR_RETURN(NicSpec spec, devices::ParseNicSpec(nic.spec()));
    wanted[spec.device] = spec;
  }
  std::vector<NicDevice> unwanted;
  for (const auto& [device, nic] : nics_) {
    auto found = wanted.find(device);
    // What is no tap is looked at again before each boot, and one that somebody removed is made again.
    const bool stays = nic.host.has_value() && devices::InterfaceIndex(nic.host->name) == nic.host->index;
    if (found == wanted.end() || !(found->second == nic.spec) || !stays) unwanted.push_back(device);
  }
  for (const NicDevice& device : unwanted) Close(device);
  for (const auto& [device, spec] : wanted) {
    if (nics_.count(device) != 0) continue;
    RETURN_IF_ERROR(Annotate(Open(spec), absl::StrCat("interface ", devices::NicName(device))));
  }
  return absl::OkStatus();
}

void Nics::End() {
  while (!nics_.empty()) Close(nics_.begin()->first);
}

// ---------------------------------------------------------------- the kernel

void Nics::KernelStarted(MconsoleClient* mconsole) {
  mconsole_ = mconsole;
  unproven_ = !nics_.empty();
}

void Nics::KernelBooted() {
  if (!std::exchange(unproven_, false)) return;
  for (const auto& [device, nic] : nics_) {
    changes_.Add([this, device = device] { ProveBooted(device); }, [](const absl::Status&) {});
  }
}

void Nics::KernelGone(absl::string_view reason) {
  changes_.Abandon(reason);
  mconsole_ = nullptr;
  unproven_ = false;
}

void Nics::Ask(const std::string& command, Answer answer) { mconsole_->Send(command, deadline_, std::move(answer)); }

// Whether the kernel has the interface. It has no query, but it looks for one before it looks at what it is to be
// configured as; these values are good for nothing else, so that the question changes nothing.
void Nics::Probe(const NicDevice& device, std::function<void(absl::StatusOr<bool>)> then) {
  const std::string question = absl::StrCat("config ", devices::NicName(device), device.vector ? ":not=a=value" : "=");
  Ask(question, [then = std::move(then)](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (!answer.ok()) return then(answer.status());
    then(absl::StrContains(answer->text, kConfigured));
  });
}

// A transport that this kernel does not have was skipped in silence.
void Nics::ProveBooted(const NicDevice& device) {
  if (!IsLive(device)) return changes_.Finish(absl::OkStatus());
  Probe(device, [this, device](const absl::StatusOr<bool>& there) {
    if (!there.ok() || *there) return changes_.Finish(there.status());
    Log(absl::StrCat("the kernel has not made ", devices::NicName(device), ": see its messages"));
    Close(device);
    changed_();
    changes_.Finish(absl::OkStatus());
  });
}

void Nics::Plug(const NicSpec& spec, Done done) {
  auto run = [this, spec] {
    if (IsLive(spec.device)) return changes_.Finish(Refusal(spec, {-EINVAL, kConfigured}));
    if (absl::Status opened = Open(spec); !opened.ok()) return changes_.Finish(opened);
    Configure(spec);
  };
  changes_.Add(std::move(run), std::move(done));
}

void Nics::Configure(const NicSpec& spec) {
  auto fail = [this, spec](const absl::Status& status) {
    Close(spec.device);
    changes_.Finish(status);
  };
  Ask(absl::StrCat("config ", devices::PrintNicKernelArgument(spec)),
      [this, spec, fail](const absl::StatusOr<MconsoleAnswer>& answer) {
        if (!answer.ok() && !absl::IsDeadlineExceeded(answer.status())) return fail(answer.status());
        if (answer.ok() && answer->error != 0) return fail(Refusal(spec, *answer));
        // It says yes to much that it then does not do; and what was not answered may be done all the same.
        Probe(spec.device, [this, spec, fail, timeout = answer.status()](const absl::StatusOr<bool>& there) {
          if (there.ok() && *there) return changes_.Finish(absl::OkStatus());
          if (!timeout.ok()) return fail(timeout);
          if (!there.ok()) return fail(there.status());
          fail(MakeError(absl::StatusCode::kFailedPrecondition,
                         absl::StrCat("the guest's kernel has made no ", devices::NicName(spec.device)),
                         {"KERNEL_REFUSED", Subject(spec.device),
                          "an interface of that name may be there already; see the kernel's messages (con0)"}));
        });
      });
}

void Nics::Unplug(const NicDevice& device, Done done) {
  auto gone = [this, device] {
    if (IsHeld(device)) {
      return changes_.Finish(MakeError(absl::StatusCode::kFailedPrecondition,
                                       absl::StrCat("the guest's kernel says that it has removed it, and still holds ",
                                                    nics_.at(device).spec.interface),
                                       {"TAP_BUSY", Subject(device), "end the guest: `umlctl kill`"}));
    }
    Close(device);
    changes_.Finish(absl::OkStatus());
  };
  auto run = [this, device, gone] {
    if (!IsLive(device)) {
      return changes_.Finish(MakeError(absl::StatusCode::kNotFound, "the running kernel has no such interface",
                                       {"DEVICE_NOT_PLUGGED", Subject(device), ""}));
    }
    Ask(absl::StrCat("remove ", devices::NicName(device)),
        [this, device, gone](const absl::StatusOr<MconsoleAnswer>& answer) {
          if (absl::IsDeadlineExceeded(answer.status())) {
            return Probe(device, [this, gone, timeout = answer.status()](const absl::StatusOr<bool>& there) {
              if (there.ok() && !*there) return gone();
              changes_.Finish(timeout);
            });
          }
          if (!answer.ok()) return changes_.Finish(answer.status());
          if (answer->error == 0 || answer->error == -ENODEV) return gone();
          if (answer->error == -EBUSY) return changes_.Finish(Busy(device));
          changes_.Finish(MakeError(
              absl::StatusCode::kFailedPrecondition,
              absl::StrCat("the guest's kernel refuses to remove it: ", answer->text, " (error ", answer->error, ")"),
              {"KERNEL_REFUSED", Subject(device), "see the guest's kernel messages (con0)"}));
        });
  };
  changes_.Add(std::move(run), std::move(done));
}

void Nics::AddFacts(v1::Facts* facts) const {
  for (const auto& [device, nic] : nics_) {
    v1::Nic* live = facts->add_live_nics();
    live->set_device(devices::NicName(device));
    live->set_spec(devices::PrintNicSpec(nic.spec));
    live->set_interface(nic.spec.interface);
    live->set_made(nic.host.has_value() && nic.host->made);
  }
}

}  // namespace umld::vmcore
