#include "umld/guests.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/host_path.h"
#include "base/status.h"
#include "base/umid.h"
#include "devices/console/console_spec.h"
#include "devices/disk/cow.h"
#include "devices/disk/disk_inspect.h"
#include "devices/disk/disk_spec.h"
#include "devices/memory/memory_spec.h"
#include "kernel/kernel_inspect.h"
#include "spdlog/spdlog.h"
#include "umld/admin_only.h"
#include "umld/description.h"
#include "umld/image_name.h"
#include "umld/labels.h"
#include "umld/trust.h"
#include "umld/vmcore_wire.h"

namespace umld {
namespace {

constexpr uint64_t kDefaultMemory = uint64_t{128} << 20;
constexpr char kRelaxedGuest[] = "a guest that is not confined";
// It runs with umld's permissions.
constexpr char kRelaxedGuestsKernel[] = "the kernel of a guest that is not confined";
constexpr int kDefaultPage = 100, kMaxPage = 1000;

absl::Status Invalid(absl::string_view message, const char* reason, const std::string& subject,
                     absl::string_view hint) {
  return MakeError(absl::StatusCode::kInvalidArgument, message, {reason, subject, std::string(hint)});
}

// Arguments that vmcore sets because supervision hangs on them.
absl::Status CheckKernelArguments(const google::protobuf::RepeatedPtrField<std::string>& arguments,
                                  const Caller& caller) {
  // All of them, with what vmcore and umld add, are one line that the kernel takes.
  constexpr size_t kMaxArguments = 3072;
  size_t all = 0;
  for (const std::string& argument : arguments) all += argument.size() + 1;
  if (all > kMaxArguments) {
    return Invalid(
        absl::StrCat("the kernel arguments have ", all, " bytes together, and ", kMaxArguments, " is the most"),
        "INVALID_KERNEL_ARGUMENT", "", "leave some out");
  }
  static constexpr absl::string_view kReserved[] = {"umid=", "uml_dir=", "mconsole=", "con",        "ssl",
                                                    "mem=",  "ubd",      "noreboot",  "debugtrace", "debug_host"};
  for (const std::string& argument : arguments) {
    if (argument.empty() || argument.size() > 1024 ||
        std::any_of(argument.begin(), argument.end(), [](char c) { return c <= ' ' || c == 127; })) {
      return Invalid(absl::StrCat("kernel argument \"", absl::CHexEscape(argument.substr(0, 80)),
                                  "\" is empty, too long or contains a space or a control character"),
                     "INVALID_KERNEL_ARGUMENT", argument.substr(0, 80), "give each argument on its own");
    }
    RETURN_IF_ERROR(CheckAdminOnly(AdminOnlyArgument(argument), caller));
    // These two are no device and no mconsole: `console=` names where the kernel's messages go, and notifications are
    // passed on.
    if (absl::StartsWith(argument, "console=")) continue;
    if (absl::string_view listener = argument; absl::ConsumePrefix(&listener, kNotifyArgument)) {
      if (absl::StartsWith(listener, "/")) continue;
      return Invalid(absl::StrCat("kernel argument \"", argument, "\" names no socket"), "INVALID_KERNEL_ARGUMENT",
                     argument, "write mconsole=notify:PATH with an absolute path");
    }
    const bool is_nic = (absl::StartsWith(argument, "eth") || absl::StartsWith(argument, "vec")) &&
                        argument.size() > 3 && absl::ascii_isdigit(argument[3]);
    if (is_nic) {
      return Invalid(absl::StrCat("kernel argument \"", argument, "\" is umld's to set"), "RESERVED_KERNEL_ARGUMENT",
                     argument, "network interfaces have an option of their own, --nic");
    }
    for (absl::string_view reserved : kReserved) {
      if (!absl::StartsWith(argument, reserved)) continue;
      return Invalid(absl::StrCat("kernel argument \"", argument, "\" is umld's to set"), "RESERVED_KERNEL_ARGUMENT",
                     argument, "memory, disks and consoles have options of their own: --mem, --disk, --con");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ResourceId(absl::string_view name, absl::string_view collection) {
  absl::string_view id = name;
  absl::ConsumePrefix(&id, collection);
  ASSIGN_OR_RETURN(Umid umid, Umid::Parse(id));
  return umid.str();
}

// "con3.log", "con3.log.1", vmcore's own, or what was to become a disk when umld was killed.
bool IsOurs(absl::string_view file) {
  if (absl::StartsWith(file, devices::kUnfinishedCow) || absl::EndsWith(file, ".cow.new")) return true;
  absl::ConsumeSuffix(&file, ".1");
  if (!absl::ConsumeSuffix(&file, ".log")) return false;
  return file == "vmcore" || devices::ParseConsoleName(file).ok();
}

// Snapshots are what people go back to when something went wrong: no deletion takes them along.
absl::Status CheckNoSnapshots(state::Store* store, const GuestView& view) {
  ASSIGN_OR_RETURN(const std::vector<state::SnapshotRow> snapshots, store->LoadSnapshotsOf(view.row.id));
  const size_t count = snapshots.size();
  if (count == 0) return absl::OkStatus();
  const std::string& name = view.row.name;
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("guest ", name, " has ", count, count == 1 ? " snapshot" : " snapshots"),
                   {"HAS_SNAPSHOTS", view.name(), absl::StrCat("`umlctl snapshot delete ", name, " --all` first")});
}

// A disk that a guest has or is to have.
struct UsedDisk {
  std::string guest;
  state::DiskRow disk;
};

bool IsReadOnly(absl::string_view flags) { return absl::StrContains(flags, 'r'); }

// Those of all guests but one that a new disk may have to do with: where both only read there is no conflict, and a
// file that many guests share is here once.
std::vector<UsedDisk> OthersDisks(const GuestTable& table, uint64_t but_guest_id, bool writable) {
  std::vector<UsedDisk> used;
  std::set<std::tuple<std::string, std::string, std::string, std::string>> known;
  auto add = [&](const GuestView& view, const state::DiskRow& disk) {
    const std::string opener = disk.opener.has_value() ? disk.opener->ToText() : "";
    if (known.emplace(disk.path, disk.backing, disk.flags, opener).second) used.push_back({view.row.name, disk});
  };
  table.Walk("", [&](const GuestView& view) {
    if (view.row.id == but_guest_id) return true;
    for (const state::DiskRow& disk : view.row.disks) {
      if (writable || !IsReadOnly(disk.flags)) add(view, disk);
    }
    for (const vmcore::v1::Disk& live : view.facts.live_disks()) {
      if (writable || !IsReadOnly(live.flags())) add(view, FromVmcoreDisk(live));
    }
    return true;
  });
  return used;
}

// Whether two disks may be one file, or one the other's backing file, by what their names lead to now: that costs a
// hundredth of opening the files, which says the rest. Names that cannot be looked at may be anything.
bool MayConflict(const devices::DiskFile& file, const state::DiskRow& other) {
  struct stat path = {}, backing = {};
  if (StatHostPath(other.path, &path)) {
    const devices::FileId theirs = devices::IdOf(path);
    if (theirs == file.path || theirs == file.backing) return true;
  } else if (errno != ENOENT || file.create_cow) {
    return true;
  }
  // A COW file that has still to be made is nobody's, but it has a backing file.
  if (other.backing.empty()) return false;
  return !StatHostPath(other.backing, &backing) || devices::IdOf(backing) == file.path;
}

state::DiskRow ToRow(const devices::DiskSpec& spec) {
  state::DiskRow row;
  row.unit = spec.unit;
  row.path = spec.path;
  row.backing = spec.backing;
  row.flags = spec.flags;
  row.serial = spec.serial;
  return row;
}

}  // namespace

void Guests::InLine(absl::string_view name, std::function<void(absl::StatusOr<GuestPtr>)> body) {
  absl::StatusOr<GuestPtr> guest = table_->Find(name);
  if (!guest.ok()) return urgent_pool_->Submit([=] { body(guest.status()); });
  InLines({*guest}, [guest, body](const absl::Status& status) { body(status.ok() ? guest : status); });
}

void Guests::InLines(const std::vector<GuestPtr>& guests, std::function<void(const absl::Status&)> body) {
  std::set<uint64_t> lines;
  for (const GuestPtr& guest : guests) lines.insert(table_->View(guest).row.id);
  pool_->SubmitInLines(lines, [this, guests, body] {
    // One may have been deleted while we waited; a rename is no matter.
    for (const GuestPtr& guest : guests) {
      const GuestView view = table_->View(guest);
      if (!view.deleting) continue;
      return body(MakeError(absl::StatusCode::kNotFound, absl::StrCat("guest ", view.row.name, " has been deleted"),
                            {"GUEST_NOT_FOUND", view.name(), ""}));
    }
    body(absl::OkStatus());
  });
}

v1::Guest Guests::Show(const GuestPtr& guest) const { return Show(table_->View(guest)); }

v1::Guest Guests::Show(const GuestView& view) const {
  v1::Guest shown;
  Show(view, /*summary=*/false, &shown);
  return shown;
}

void Guests::Show(const GuestView& view, bool summary, v1::Guest* out) const {
  ToProto(view, config_->state_dir, config_->run_dir, summary, out);
  if (const absl::StatusOr<KernelChoice> kernel = catalog_->ChoiceOf(view); kernel.ok()) {
    out->set_kernel_in_use(kernel->name.empty() ? kernel->path : kernel->name);
    out->set_kernel_path(kernel->path);
  }
  if (summary) return;
  for (v1::Disk& disk : *out->mutable_disks()) NameVolume(&disk);
}

absl::StatusOr<std::vector<state::DiskRow>> Guests::NewDisks(const v1::CreateGuestRequest& request, bool has_image,
                                                             const Caller& caller) {
  std::vector<devices::DiskSpec> specs;
  for (const std::string& text : request.disk_specs()) {
    ASSIGN_OR_RETURN(const std::string expanded, ExpandSpec(text, catalog_->Choose(request.guest().kernel())));
    ASSIGN_OR_RETURN(devices::DiskSpec spec, devices::ParseDiskSpec(expanded));
    specs.push_back(std::move(spec));
  }
  for (const v1::Disk& disk : request.guest().disks()) {
    absl::string_view device = disk.name();
    if (size_t slash = device.rfind('/'); slash != absl::string_view::npos) device.remove_prefix(slash + 1);
    ASSIGN_OR_RETURN(uint32_t unit, devices::ParseDiskName(device));
    devices::DiskSpec spec{unit, disk.flags(), disk.path(), disk.backing(), disk.serial()};
    RETURN_IF_ERROR(devices::CheckDiskSpec(spec));
    specs.push_back(std::move(spec));
  }
  std::sort(specs.begin(), specs.end(), [](const auto& a, const auto& b) { return a.unit < b.unit; });
  std::vector<state::DiskRow> rows;
  for (const devices::DiskSpec& spec : specs) {
    const bool twice = !rows.empty() && rows.back().unit == spec.unit;
    if (twice || (has_image && spec.unit == 0)) {
      return Invalid(
          absl::StrCat(devices::DiskName(spec.unit), " is given twice"), "DEVICE_GIVEN_TWICE",
          devices::DiskName(spec.unit),
          has_image && spec.unit == 0 ? "ubda comes from the image; use ubdb for this disk" : "give each disk once");
    }
    state::DiskRow row = ToRow(spec);
    row.opener = WhoOpens(row, caller);
    RETURN_IF_ERROR(CheckDisk(row, rows, 0));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::optional<Credentials> Guests::WhoOpens(const state::DiskRow& disk, const Caller& caller) const {
  const bool read_only = IsReadOnly(disk.flags);
  const bool for_all = !volumes_->NameOf(disk.path).empty() || (read_only && catalog_->IsModules(disk.path));
  return disk.managed || (for_all && disk.backing.empty()) ? std::nullopt : caller.user;
}

absl::Status Guests::CheckDisk(const state::DiskRow& disk, const std::vector<state::DiskRow>& own,
                               uint64_t guest_id) const {
  const std::string noun = absl::StrCat("disk ", devices::DiskName(disk.unit));
  size_t paths = disk.path.size() + disk.backing.size();
  for (const state::DiskRow& other : own) paths += other.path.size() + other.backing.size();
  if (paths > devices::kMaxPathsBytes) {
    return Annotate(Invalid(absl::StrCat("the paths of this guest's disks would have ", paths, " bytes together, and ",
                                         devices::kMaxPathsBytes, " is the most"),
                            "PATHS_TOO_LONG", disk.path, "use symbolic links with shorter paths"),
                    noun);
  }
  auto inspect = [](const state::DiskRow& row) {
    return ActAs(row.opener, [&row] {
      return devices::InspectDisk({row.unit, row.flags, row.path, row.backing, row.serial});
    });
  };
  absl::StatusOr<devices::DiskFile> file = inspect(disk);
  if (!file.ok()) return Annotate(file.status(), noun);
  auto conflict = [&](const std::string& owner, const state::DiskRow& other, absl::string_view way_out) {
    return Annotate(
        MakeError(absl::StatusCode::kFailedPrecondition,
                  absl::StrCat(volumes_->Show(disk.path), " is in use ", owner, " as ", devices::DiskName(other.unit)),
                  {"DISK_IN_USE", disk.path, std::string(way_out)}),
        noun);
  };
  for (const state::DiskRow& other : own) {
    if (other.unit == disk.unit) continue;
    absl::StatusOr<devices::DiskFile> theirs = inspect(other);
    if (theirs.ok() && devices::Conflicts(*file, *theirs)) {
      return conflict("by this guest", other, "one file is one disk; make another file");
    }
  }
  for (const UsedDisk& used : OthersDisks(*table_, guest_id, file->writable)) {
    const state::DiskRow& other = used.disk;
    if (!MayConflict(*file, other)) continue;
    absl::StatusOr<devices::DiskFile> theirs = inspect(other);
    if (!theirs.ok() || !devices::Conflicts(*file, *theirs)) continue;
    const std::string device = devices::DiskName(other.unit);
    const std::string beside = volumes_->NameOf(disk.path).empty()
                                   ? absl::StrCat("make a COW over it for each guest (", devices::DiskName(disk.unit),
                                                  "=NEW.cow,", disk.path, ")")
                                   : absl::StrCat("give it to all of them read-only (", devices::DiskName(disk.unit),
                                                  "r=", volumes_->Show(disk.path), ")");
    return conflict("by guest " + used.guest, other,
                    absl::StrCat("`umlctl unplug ", used.guest, " ", device, "` first, or ", beside));
  }
  return absl::OkStatus();
}

namespace {

// Below these no kernel comes up, so they are mistakes.
constexpr uint32_t kLeastCpuPercent = 1, kMostCpuPercent = 102400, kLeastProcesses = 16;
constexpr uint64_t kLeastDiskBandwidth = 64 << 10;
constexpr uint32_t kLeastDiskOperations = 10;
constexpr uint64_t kLeastMemoryLimit = uint64_t{32} << 20;

absl::Status TakeLimits(const v1::Limits& wanted, state::GuestRow* row) {
  const uint32_t cpu = wanted.cpu_percent(), processes = wanted.processes();
  if (cpu != 0 && (cpu < kLeastCpuPercent || cpu > kMostCpuPercent)) {
    return Invalid(absl::StrCat("a CPU limit of ", cpu, "%"), "INVALID_LIMIT", row->name, "give 1% to 102400%");
  }
  if (wanted.memory_bytes() != 0 && wanted.memory_bytes() < kLeastMemoryLimit) {
    return Invalid("a memory limit below 32M: no kernel comes up in that", "INVALID_LIMIT", row->name,
                   "give more than the guest's own memory");
  }
  if (processes != 0 && processes < kLeastProcesses) {
    return Invalid(absl::StrCat("a limit of ", processes, " processes: no guest comes up with that"), "INVALID_LIMIT",
                   row->name, "give 16 or more");
  }
  const uint64_t disk_bps = wanted.disk_bytes_per_second();
  const uint32_t disk_iops = wanted.disk_operations_per_second();
  if ((disk_bps != 0 && disk_bps < kLeastDiskBandwidth) || (disk_iops != 0 && disk_iops < kLeastDiskOperations)) {
    return Invalid("a disk limit that no guest boots with", "INVALID_LIMIT", row->name,
                   "give at least 64K bytes and 10 operations per second");
  }
  row->cpu_percent = cpu;
  row->memory_max = wanted.memory_bytes();
  row->pids_max = processes;
  row->disk_bps = wanted.disk_bytes_per_second();
  row->disk_iops = wanted.disk_operations_per_second();
  return absl::OkStatus();
}

// A daemon that was told to relax what says nothing was told to trust it too.
void TakeTrust(v1::Trust trust, v1::Confinement confinement, const DaemonConfig& config, state::GuestRow* row) {
  const bool by_default = confinement == v1::CONFINEMENT_UNSPECIFIED && config.relaxed;
  row->trusted = trust == v1::TRUST_UNSPECIFIED ? by_default : trust == v1::TRUSTED;
  row->relaxed = by_default ? row->trusted : confinement == v1::RELAXED;
}

}  // namespace

absl::StatusOr<std::optional<Credentials>> Guests::CheckKernel(const std::string& wish, const Caller& caller) const {
  ASSIGN_OR_RETURN(const KernelChoice kernel, catalog_->Choose(wish));
  // What a path leads to is the caller's to see; a kernel with a name is there for all.
  const std::optional<Credentials> opener = kernel.name.empty() ? caller.user : std::nullopt;
  RETURN_IF_ERROR(ActAs(opener, [&kernel] { return kernel::InspectKernel(kernel.path); }));
  return opener;
}

absl::StatusOr<state::GuestRow> Guests::NewRow(const v1::CreateGuestRequest& request, const Caller& caller) {
  const v1::Guest& wanted = request.guest();
  state::GuestRow row;
  if (wanted.name().empty()) {
    row.name = Umid::Random().str();
  } else {
    ASSIGN_OR_RETURN(row.name, ResourceId(wanted.name(), "guests/"));
  }
  if (table_->Find(row.name).ok()) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is a guest \"", row.name, "\" already"),
                     {"GUEST_EXISTS", "guests/" + row.name, "choose another name, or delete that one"});
  }
  row.memory_bytes = wanted.memory_bytes() == 0 ? kDefaultMemory : wanted.memory_bytes();
  RETURN_IF_ERROR(devices::CheckMemory(row.memory_bytes));
  row.kernel = wanted.kernel();
  ASSIGN_OR_RETURN(row.kernel_opener, CheckKernel(row.kernel, caller));
  RETURN_IF_ERROR(CheckKernelArguments(wanted.kernel_args(), caller));
  row.kernel_args.assign(wanted.kernel_args().begin(), wanted.kernel_args().end());
  RETURN_IF_ERROR(CheckDescription(wanted.description(), row.name));
  row.description = wanted.description();
  row.labels = {wanted.labels().begin(), wanted.labels().end()};
  RETURN_IF_ERROR(CheckLabels(row.labels));
  TakeTrust(wanted.trust(), wanted.confinement(), *config_, &row);
  if (row.relaxed) RETURN_IF_ERROR(NeedsAdmin(caller, kRelaxedGuest));
  RETURN_IF_ERROR(CheckTrust(row));
  RETURN_IF_ERROR(TakeLimits(wanted.limits(), &row));
  row.keeps_memory = wanted.memory_reclaim() == v1::NEVER;
  row.created_ns = absl::ToUnixNanos(absl::Now());
  ASSIGN_OR_RETURN(row.disks, NewDisks(request, !wanted.image().empty(), caller));
  ASSIGN_OR_RETURN(row.consoles, NewConsoles(request, caller));
  ASSIGN_OR_RETURN(row.nics, NewNics(request, row.relaxed, caller));
  return row;
}

absl::StatusOr<v1::Guest> Guests::Create(const v1::CreateGuestRequest& request, const Caller& caller) {
  if (!request.request_id().empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request.request_id()));
    if (earlier.has_value()) {
      ASSIGN_OR_RETURN(GuestPtr guest, table_->Find(earlier->target));
      return Show(guest);
    }
  }
  ASSIGN_OR_RETURN(state::GuestRow row, NewRow(request, caller));
  ASSIGN_OR_RETURN(const VolumeCatalog::Hold hold, volumes_->Use(row.disks));
  // Once more, now that nobody removes them.
  for (const state::DiskRow& disk : row.disks) {
    if (!volumes_->NameOf(disk.path).empty()) RETURN_IF_ERROR(CheckDisk(disk, row.disks, 0));
  }
  std::string backing;
  if (const std::string& wanted = request.guest().image(); !wanted.empty()) {
    ASSIGN_OR_RETURN(const std::vector<state::ImageRow> images, store_->LoadImages());
    ASSIGN_OR_RETURN(const state::ImageRow* image, FindImage(images, wanted));
    row.image = IsDigest(wanted) ? image->digest : *ParseImageName(wanted);
    row.image_digest = image->digest;
    backing = image->path;
    if (access(backing.c_str(), R_OK) != 0)
      return Annotate(ErrnoError(errno, backing), absl::StrCat("image ", row.image));
  }
  state::OperationRow operation;
  operation.verb = "create";
  operation.target = "guests/" + row.name;
  operation.request_id = request.request_id();
  operation.created_ns = row.created_ns;
  operation = Operations::Outcome(operation, absl::OkStatus());
  auto complete = [&](state::GuestRow& inserted, state::Transaction&) {
    if (backing.empty()) return absl::OkStatus();
    state::DiskRow root;
    root.unit = 0;
    root.path = config_->GuestStateDir(inserted.id) + "/ubda.cow";
    root.backing = backing;
    root.managed = true;
    inserted.disks.insert(inserted.disks.begin(), root);
    return absl::OkStatus();
  };
  absl::StatusOr<GuestPtr> guest = table_->Insert(row, complete, request.request_id().empty() ? nullptr : &operation);
  if (!guest.ok()) return Annotate(guest.status(), absl::StrCat("guest ", row.name));
  return Show(*guest);
}

absl::Status Guests::List(const v1::ListGuestsRequest& request, v1::ListGuestsResponse* response) const {
  std::string after;
  if (!request.page_token().empty() && !absl::WebSafeBase64Unescape(request.page_token(), &after)) {
    return Invalid("the page token is not one of ours", "INVALID_PAGE_TOKEN", "", "begin again without it");
  }
  const int size =
      request.page_size() == 0 ? kDefaultPage : static_cast<int>(std::min<uint32_t>(request.page_size(), kMaxPage));
  ASSIGN_OR_RETURN(const LabelSelector selector, LabelSelector::Parse(request.label_selector()));
  table_->Walk(after, [&](const GuestView& view) {
    if (!selector.Matches(view.row.labels)) return true;
    if (response->guests_size() == size) {
      response->set_next_page_token(absl::WebSafeBase64Escape(after));
      return false;
    }
    after = view.row.name;
    Show(view, request.summary(), response->add_guests());
    return true;
  });
  return absl::OkStatus();
}

absl::Status Guests::TellConfig(const GuestPtr& guest) {
  vmcore::v1::Request next;
  ASSIGN_OR_RETURN(*next.mutable_set_config()->mutable_config(), runtime_->ConfigOf(table_->View(guest)));
  return runtime_->Call(guest, next, absl::Seconds(5)).status();
}

absl::StatusOr<v1::Guest> Guests::Update(const GuestPtr& guest, const v1::UpdateGuestRequest& request,
                                         const Caller& caller) {
  const v1::Guest& wanted = request.guest();
  std::vector<std::string> paths(request.update_mask().paths().begin(), request.update_mask().paths().end());
  if (paths.empty()) return Invalid("update_mask is empty", "INVALID_UPDATE_MASK", wanted.name(), "name the fields");
  if (std::set<absl::string_view>(paths.begin(), paths.end()).size() != paths.size()) {
    return Invalid("update_mask names a field twice", "INVALID_UPDATE_MASK", wanted.name(), "name each field once");
  }
  const bool runs_relaxed = table_->View(guest).may_be_relaxed();
  GuestTable::Change change;
  change.edit = [&](state::GuestRow& row) -> absl::Status {
    const bool relaxed = row.relaxed || runs_relaxed;
    if (!wanted.etag().empty() && wanted.etag() != absl::StrCat(row.version)) {
      return MakeError(absl::StatusCode::kAborted, absl::StrCat("guest ", row.name, " has been changed by another"),
                       {"ETAG_MISMATCH", wanted.name(), "get it again and repeat the change"});
    }
    for (const std::string& path : paths) {
      if (path == "memory_bytes") {
        RETURN_IF_ERROR(devices::CheckMemory(wanted.memory_bytes()));
        row.memory_bytes = wanted.memory_bytes();
      } else if (path == "kernel") {
        if (relaxed) RETURN_IF_ERROR(NeedsAdmin(caller, kRelaxedGuestsKernel));
        row.kernel = wanted.kernel();
        ASSIGN_OR_RETURN(row.kernel_opener, CheckKernel(row.kernel, caller));
      } else if (path == "kernel_args") {
        if (relaxed) RETURN_IF_ERROR(NeedsAdmin(caller, kRelaxedGuestsKernel));
        RETURN_IF_ERROR(CheckKernelArguments(wanted.kernel_args(), caller));
        row.kernel_args.assign(wanted.kernel_args().begin(), wanted.kernel_args().end());
      } else if (path == "description") {
        RETURN_IF_ERROR(CheckDescription(wanted.description(), row.name));
        row.description = wanted.description();
      } else if (path == "labels") {
        row.labels = {wanted.labels().begin(), wanted.labels().end()};
        RETURN_IF_ERROR(CheckLabels(row.labels));
      } else if (path == "confinement") {
        row.relaxed = wanted.confinement() == v1::CONFINEMENT_UNSPECIFIED ? config_->relaxed
                                                                          : wanted.confinement() == v1::RELAXED;
        if (row.relaxed) RETURN_IF_ERROR(NeedsAdmin(caller, kRelaxedGuest));
        if (!row.relaxed) RETURN_IF_ERROR(Annotate(CheckNicsConfined(row.nics), absl::StrCat("guest ", row.name)));
      } else if (path == "trust") {
        row.trusted = wanted.trust() == v1::TRUSTED;
      } else if (path == "limits") {
        RETURN_IF_ERROR(TakeLimits(wanted.limits(), &row));
      } else if (path == "memory_reclaim") {
        row.keeps_memory = wanted.memory_reclaim() == v1::NEVER;
      } else {
        return Invalid(
            absl::StrCat("\"", path, "\" cannot be updated"), "INVALID_UPDATE_MASK", wanted.name(),
            "memory_bytes, kernel, kernel_args, description, labels, confinement, trust, limits and memory_reclaim "
            "can; devices have Plug and Unplug");
      }
    }
    RETURN_IF_ERROR(CheckTrust(row));
    ++row.version;
    return absl::OkStatus();
  };
  state::EventRow event;
  event.type = "guest.updated";
  change.events = {event};
  RETURN_IF_ERROR(table_->Commit(guest, change));
  const GuestView view = table_->View(guest);
  if (view.alive) {
    // If it cannot be told now, it is at the next connection; the change itself is committed.
    absl::Status told = TellConfig(guest);
    if (!told.ok()) spdlog::warn("guest {}: {}", view.row.name, std::string(told.message()));
    const std::string reason = GetErrorDetail(told).reason;
    if (reason == "LIMIT_TOO_LOW" || reason == "LIMIT_UNAVAILABLE") {
      return Annotate(told, absl::StrCat("guest ", view.row.name, ": this holds from the next boot"));
    }
  }
  return Show(guest);
}

absl::StatusOr<v1::Guest> Guests::Rename(const GuestPtr& guest, const std::string& new_name) {
  ASSIGN_OR_RETURN(std::string name, ResourceId(new_name, "guests/"));
  const std::string old_name = table_->View(guest).row.name;
  GuestTable::Change change;
  change.edit = [&](state::GuestRow& row) {
    row.name = name;
    ++row.version;
    return absl::OkStatus();
  };
  state::EventRow event;
  event.type = "guest.renamed";
  event.message = absl::StrCat(old_name, " is now ", name);
  change.events = {event};
  absl::Status status = table_->Commit(guest, change);
  if (absl::IsAlreadyExists(status)) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is a guest \"", name, "\" already"),
                     {"GUEST_EXISTS", "guests/" + name, "choose another name"});
  }
  RETURN_IF_ERROR(status);
  if (table_->View(guest).alive) {
    absl::Status told = TellConfig(guest);
    if (!told.ok()) spdlog::warn("guest {}: {}", name, std::string(told.message()));
  }
  return Show(guest);
}

absl::Status Guests::RemoveFiles(const GuestView& view) {
  const std::string folder = config_->GuestStateDir(view.row.id);
  for (const state::DiskRow& disk : view.row.disks) {
    if (disk.managed && unlink(disk.path.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, disk.path);
  }
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (IsOurs(entry.path().filename().string())) unlink(entry.path().c_str());
  }
  // Not emptied by force: what somebody else put there stays, and is said.
  if (rmdir(folder.c_str()) != 0 && errno != ENOENT) {
    spdlog::warn("guest {}: {} is kept: it has files that are not umld's", view.row.name, folder);
  }
  return RemoveFolder(config_->GuestRunDir(view.row.id));
}

absl::Status Guests::RunDelete(const GuestPtr& guest, const state::OperationRow& operation) {
  const GuestView view = table_->View(guest);
  RETURN_IF_ERROR(CheckNoSnapshots(store_, view));
  RETURN_IF_ERROR(RemoveFiles(view));
  state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  return table_->Remove(guest, &done);
}

void Guests::Delete(const v1::DeleteGuestRequest& request, std::function<void(absl::Status)> done) {
  absl::StatusOr<GuestPtr> found = table_->Find(request.name());
  if (!found.ok()) return done(found.status());
  GuestPtr guest = *found;
  absl::Status refused = CheckNoSnapshots(store_, table_->View(guest));
  if (!refused.ok()) return done(refused);
  table_->Update(guest, [&](GuestView& view) {
    const std::string& name = view.row.name;
    if (view.deleting) {
      refused = MakeError(absl::StatusCode::kNotFound, absl::StrCat("guest ", name, " is being deleted"),
                          {"GUEST_NOT_FOUND", view.name(), ""});
    } else if (!request.etag().empty() && request.etag() != absl::StrCat(view.row.version)) {
      refused = MakeError(absl::StatusCode::kAborted, absl::StrCat("guest ", name, " has been changed by another"),
                          {"ETAG_MISMATCH", view.name(), "look at it again"});
    } else if (view.alive && !request.force()) {
      refused = MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("guest ", name, " is running"),
                          {"RUNNING", view.name(),
                           absl::StrCat("`umlctl stop ", name, "` first, or `umlctl delete --force ", name, "`")});
    } else {
      view.deleting = true;
    }
  });
  if (!refused.ok()) return done(refused);
  const uint64_t id = table_->View(guest).row.id;
  auto give_up = [this, guest, done](const absl::Status& status) {
    table_->Update(guest, [](GuestView& view) { view.deleting = false; });
    done(status);
  };
  // The kill goes beside the line: what waits there for the guest then ends, and the removal comes after it.
  urgent_pool_->Submit([=, this] {
    state::OperationRow row;
    row.verb = "delete";
    row.guest_id = id;
    row.target = table_->View(guest).name();
    absl::StatusOr<Operations::Begun> begun = operations_->Begin(row);
    if (!begun.ok()) return give_up(begun.status());
    if (table_->View(guest).alive) {
      absl::Status killed = RunKill(guest, begun->row);
      if (!killed.ok()) {
        operations_->Finish(begun->row, killed);
        return give_up(killed);
      }
    }
    pool_->SubmitInLine(id, [=, this] {
      absl::Status status = table_->View(guest).alive ? RunKill(guest, begun->row) : absl::OkStatus();
      if (status.ok()) status = RunDelete(guest, begun->row);
      if (status.ok()) return done(status);
      operations_->Finish(begun->row, status);
      give_up(status);
    });
  });
}

}  // namespace umld
