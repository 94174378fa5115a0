#include "umld/kernels.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/byte_size.h"
#include "base/file.h"
#include "base/status.h"
#include "base/umid.h"
#include "base/unique_fd.h"
#include "google/protobuf/util/time_util.h"
#include "kernel/kernel_features.h"
#include "kernel/kernel_inspect.h"
#include "spdlog/spdlog.h"

namespace umld {
namespace {

constexpr int kMostUses = 1000;

absl::string_view IdOf(absl::string_view name) { return absl::StripPrefix(name, state::kKernelPrefix); }

// What tells one content of a file from the next.
absl::StatusOr<std::string> Identity(int fd, const std::string& path) {
  struct stat info = {};
  if (fstat(fd, &info) != 0) return ErrnoError(errno, path);
  return absl::StrCat(info.st_dev, ":", info.st_ino, ":", info.st_size, ":", info.st_mtim.tv_sec, ".",
                      info.st_mtim.tv_nsec, ":", info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec);
}

void ShowText(const kernel::KernelText& text, v1::Kernel* out) {
  const kernel::KernelFeatures features = kernel::FeaturesOf(text);
  out->set_version(text.version);
  out->set_banner(text.banner);
  out->set_build_id(text.build_id);
  v1::KernelFeatures* shown = out->mutable_features();
  shown->set_config_known(features.config_known);
  shown->set_ubd(features.ubd);
  shown->set_mconsole(features.mconsole);
  for (const std::string& name : features.network) shown->add_network(name);
  for (const std::string& name : features.consoles) shown->add_consoles(name);
  shown->set_serial_lines(features.serial_lines);
  shown->set_virtio(features.virtio);
  shown->set_smp(features.smp);
  shown->set_hostfs(features.hostfs);
  shown->set_modules(features.modules);
  shown->set_dev_mem(features.dev_mem);
  shown->set_initrd(features.initrd);
  shown->set_process_mode(features.process_mode);
  for (const std::string& warning : kernel::WarningsOf(text, features)) out->add_warnings(warning);
}

}  // namespace

absl::StatusOr<std::string> Kernels::ParseId(absl::string_view name) {
  absl::StatusOr<Umid> id = Umid::Parse(IdOf(name));
  if (id.ok()) return id->str();
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("\"", IdOf(name).substr(0, 80), "\" is not a kernel's name"),
                   {"INVALID_NAME", std::string(name), "use 1 to 64 letters, digits, '-', '_' and '.'"});
}

Kernels::Kernels(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations,
                 EventLog* events, KernelCatalog* catalog, WorkerPool* pool)
    : config_(config),
      store_(store),
      table_(table),
      operations_(operations),
      events_(events),
      catalog_(catalog),
      pool_(pool),
      folder_(config->state_dir + "/kernels"),
      binaries_(folder_, ".linux", 0555),
      symbols_(folder_, ".symbols", 0444),
      modules_(folder_, ".modules", 0444) {}

absl::Status Kernels::Load() {
  ASSIGN_OR_RETURN(std::vector<state::KernelRow> rows, store_->LoadKernels());
  catalog_->Set(std::move(rows));
  const std::set<std::string> needed = catalog_->AllPaths();
  for (const ContentStore* store : {&binaries_, &symbols_, &modules_}) store->RemoveLeftovers(needed);
  return absl::OkStatus();
}

// ---------------------------------------------------------------- looking

absl::StatusOr<Kernels::TextPtr> Kernels::Examine(const std::string& path) {
  RETURN_IF_ERROR(kernel::InspectKernel(path));
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.ok()) return ErrnoError(errno, path);
  ASSIGN_OR_RETURN(const std::string identity, Identity(fd.get(), path));
  {
    absl::MutexLock lock(&examined_mutex_);
    const auto known = examined_.find(path);
    if (known != examined_.end() && known->second.identity == identity) return known->second.text;
  }
  ASSIGN_OR_RETURN(kernel::KernelText text, kernel::ReadKernel(fd.get(), path));
  auto shared = std::make_shared<const kernel::KernelText>(std::move(text));
  absl::MutexLock lock(&examined_mutex_);
  examined_[path] = {identity, shared};
  return shared;
}

v1::Kernel Kernels::Show(const std::string& name, const state::KernelRow* row) {
  v1::Kernel kernel;
  kernel.set_name(name);
  kernel.set_imported(row != nullptr);
  const absl::StatusOr<KernelChoice> chosen = catalog_->Choose("");
  kernel.set_is_default(chosen.ok() && chosen->name == name);
  kernel.set_path(row == nullptr ? config_->default_kernel : catalog_->BinaryPath(*row));
  struct stat info = {};
  if (stat(kernel.path().c_str(), &info) == 0) kernel.set_size_bytes(static_cast<uint64_t>(info.st_size));
  if (row != nullptr) {
    kernel.set_description(row->description);
    kernel.set_sha256(row->sha256);
    *kernel.mutable_create_time() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(row->created_ns);
    kernel.set_symbols_path(catalog_->SymbolsPath(*row));
    kernel.set_modules_path(catalog_->ModulesPath(*row));
    if (!row->modules.empty() && stat(kernel.modules_path().c_str(), &info) == 0) {
      kernel.set_modules_bytes(static_cast<uint64_t>(info.st_size));
    }
  }
  const absl::StatusOr<TextPtr> text = Examine(kernel.path());
  if (text.ok()) {
    ShowText(**text, &kernel);
  } else {
    kernel.set_problem(std::string(text.status().message()));
  }
  return kernel;
}

void Kernels::ShowUses(v1::Kernel* kernel) {
  for (const GuestView& view : table_->Views()) {
    v1::KernelUse use;
    use.set_guest(view.name());
    use.set_named(view.row.kernel == kernel->name());
    use.set_follows(view.row.kernel.empty() && kernel->is_default());
    use.set_running(view.alive && view.facts.config().kernel() == kernel->path());
    if (!use.named() && !use.follows() && !use.running()) continue;
    if (kernel->guests_size() == kMostUses) return;
    *kernel->add_guests() = std::move(use);
  }
}

absl::StatusOr<std::vector<v1::Kernel>> Kernels::List() {
  std::vector<v1::Kernel> kernels = {Show(state::kSystemKernel, nullptr)};
  for (const state::KernelRow& row : catalog_->rows()) kernels.push_back(Show(state::kKernelPrefix + row.name, &row));
  return kernels;
}

absl::StatusOr<v1::Kernel> Kernels::GetById(const std::string& id) {
  const std::string name = state::kKernelPrefix + id;
  if (name == state::kSystemKernel) return Show(name, nullptr);
  for (const state::KernelRow& row : catalog_->rows()) {
    if (row.name == id) return Show(name, &row);
  }
  return catalog_->Choose(name).status();
}

absl::StatusOr<v1::Kernel> Kernels::Get(const std::string& name) {
  ASSIGN_OR_RETURN(const std::string id, ParseId(name));
  ASSIGN_OR_RETURN(v1::Kernel kernel, GetById(id));
  ShowUses(&kernel);
  return kernel;
}

absl::StatusOr<std::string> Kernels::Config(const std::string& name) {
  ASSIGN_OR_RETURN(const std::string id, ParseId(name));
  ASSIGN_OR_RETURN(const KernelChoice choice, catalog_->Choose(state::kKernelPrefix + id));
  ASSIGN_OR_RETURN(const TextPtr text, Examine(choice.path));
  if (!text->config.empty()) return absl::StrCat(absl::StrJoin(text->config, "\n"), "\n");
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("kernel ", id, " does not say how it was configured"),
                   {"NO_CONFIG", choice.name, "ask whoever built it"});
}

// ---------------------------------------------------------------- change

absl::Status Kernels::Commit(const char* event_type, const std::string& id,
                             const std::function<absl::Status(state::Transaction&)>& change) {
  std::vector<state::EventRow> events(1);
  events[0].type = event_type;
  events[0].subject = state::kKernelPrefix + id;
  events[0].time_ns = absl::ToUnixNanos(absl::Now());
  RETURN_IF_ERROR(store_->Commit([&](state::Transaction& transaction) -> absl::Status {
    RETURN_IF_ERROR(change(transaction));
    ASSIGN_OR_RETURN(events[0].sequence, transaction.AppendEvent(events[0]));
    return absl::OkStatus();
  }));
  absl::StatusOr<std::vector<state::KernelRow>> rows = store_->LoadKernels();
  if (rows.ok()) {
    catalog_->Set(*std::move(rows));
  } else {
    spdlog::error("kernels cannot be read: {}", std::string(rows.status().message()));
  }
  events_->Publish(events);
  return absl::OkStatus();
}

absl::Status Kernels::CheckRelaxed(const std::string& wish, const Caller& caller) const {
  if (caller.is_admin()) return absl::OkStatus();
  for (const GuestView& view : table_->Views()) {
    if (!view.may_be_relaxed() || view.row.kernel != wish) continue;
    return NeedsAdmin(caller, absl::StrCat("the kernel of guest ", view.row.name, ", which is not confined,"));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Kernel> Kernels::SetDefault(const std::string& name, const Caller& caller) {
  ASSIGN_OR_RETURN(const std::string id, ParseId(name));
  RETURN_IF_ERROR(CheckRelaxed("", caller));
  ASSIGN_OR_RETURN(const v1::Kernel kernel, GetById(id));
  if (!kernel.problem().empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("kernel ", id, ": ", kernel.problem()),
                     {"KERNEL_UNUSABLE", kernel.name(), "import it anew, or choose another"});
  }
  {
    absl::MutexLock lock(&change_);
    RETURN_IF_ERROR(Commit("kernel.default", id, [&](state::Transaction& transaction) {
      return transaction.SetDefaultKernel(kernel.imported() ? id : "");
    }));
  }
  return Get(name);
}

absl::Status Kernels::CheckUnused(const state::KernelRow& row) {
  const std::string name = state::kKernelPrefix + row.name;
  const std::string binary = catalog_->BinaryPath(row), modules = catalog_->ModulesPath(row);
  const auto in_use = [&](absl::string_view how, absl::string_view way_out) {
    return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("kernel ", row.name, " ", how),
                     {"KERNEL_IN_USE", name, std::string(way_out)});
  };
  // Another kernel may have the same file, which then stays.
  bool shares_binary = false, shares_modules = modules.empty();
  for (const state::KernelRow& other : catalog_->rows()) {
    if (other.name == row.name) continue;
    shares_binary = shares_binary || other.sha256 == row.sha256;
    shares_modules = shares_modules || other.modules == row.modules;
  }
  if (!shares_binary && catalog_->IsHeld(binary)) {
    return in_use("is being started by a guest, or waits in the warm pool",
                  "try again in a moment; `umlctl pool list` shows the pool");
  }
  for (const GuestView& view : table_->Views()) {
    const std::string& running = view.facts.config().kernel();
    if (view.alive && running.empty()) {
      return in_use(absl::StrCat("may be run by guest ", view.row.name, ", whose supervisor does not answer"),
                    absl::StrCat("wait, or `umlctl kill ", view.row.name, "`"));
    }
    if (view.alive && running == binary && !shares_binary) {
      return in_use(absl::StrCat("is run by guest ", view.row.name, ", and by its next reboot"),
                    absl::StrCat("`umlctl stop ", view.row.name, "` first"));
    }
    if (shares_modules) continue;
    const auto has_modules = [&](const auto& disk) { return disk.path == modules; };
    const auto has_live = [&](const vmcore::v1::Disk& disk) { return disk.path() == modules; };
    if (std::any_of(view.row.disks.begin(), view.row.disks.end(), has_modules) ||
        std::any_of(view.facts.live_disks().begin(), view.facts.live_disks().end(), has_live)) {
      return in_use(absl::StrCat("has modules that guest ", view.row.name, " has as a disk"),
                    absl::StrCat("unplug that disk of ", view.row.name, " first"));
    }
  }
  return absl::OkStatus();
}

void Kernels::RemoveUnneeded(const state::KernelRow& row) {
  const std::set<std::string> needed = catalog_->AllPaths();
  for (const std::string& path : {catalog_->BinaryPath(row), catalog_->SymbolsPath(row), catalog_->ModulesPath(row)}) {
    if (path.empty() || needed.count(path) > 0) continue;
    // What stays is removed at the next start.
    if (absl::Status removed = binaries_.Remove(path); !removed.ok()) {
      spdlog::warn("kernel {}: {}", row.name, std::string(removed.message()));
    }
    absl::MutexLock lock(&examined_mutex_);
    examined_.erase(path);
  }
}

absl::Status Kernels::Delete(const std::string& name, const Caller& caller) {
  ASSIGN_OR_RETURN(const std::string id, ParseId(name));
  RETURN_IF_ERROR(CheckRelaxed(state::kKernelPrefix + id, caller));
  ASSIGN_OR_RETURN(const KernelChoice by_default, catalog_->Choose(""));
  if (by_default.name == state::kKernelPrefix + id) RETURN_IF_ERROR(CheckRelaxed("", caller));
  if (state::kKernelPrefix + id == state::kSystemKernel) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("kernel system is ", config_->default_kernel, ", which umld was started with"),
                     {"NOT_IMPORTED", state::kSystemKernel, "umld --kernel names another"});
  }
  absl::MutexLock lock(&change_);
  for (const state::KernelRow& row : catalog_->rows()) {
    if (row.name != id) continue;
    RETURN_IF_ERROR(CheckUnused(row));
    // The row goes first: a file without a row is only untidy, a row without a file is a guest that does not start.
    RETURN_IF_ERROR(
        Commit("kernel.deleted", id, [&](state::Transaction& transaction) { return transaction.DeleteKernel(id); }));
    RemoveUnneeded(row);
    return absl::OkStatus();
  }
  return catalog_->Choose(state::kKernelPrefix + id).status();
}

}  // namespace umld
