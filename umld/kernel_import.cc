// Kernels::Import and Kernels::Build: how a kernel comes into the store.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/byte_size.h"
#include "base/file.h"
#include "base/host_path.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"
#include "umld/description.h"
#include "umld/fast_kernel.h"
#include "umld/kernel_modules.h"
#include "umld/kernels.h"

namespace umld {
namespace {

// What is larger is no kernel, or not what was meant.
constexpr uint64_t kMostBinary = uint64_t{1} << 30;
constexpr uint64_t kMostSymbols = uint64_t{4} << 30;
constexpr size_t kChunk = 1 << 20;
constexpr char kFastKernel[] = "fast";

absl::Status CheckNewId(const std::string& id) {
  if (id != "system" && id != "default") return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", id, "\" is umld's own word"),
                   {"INVALID_NAME", state::kKernelPrefix + id, "choose another name"});
}

absl::Status Exists(const std::string& id) {
  return MakeError(
      absl::StatusCode::kAlreadyExists, absl::StrCat("there is a kernel \"", id, "\" already"),
      {"KERNEL_EXISTS", state::kKernelPrefix + id, absl::StrCat("use it, or `umlctl kernel delete ", id, "` first")});
}

// Never waits: what turns out to be a FIFO or a device is closed again.
absl::StatusOr<UniqueFd> OpenSource(const std::string& path, uint64_t most) {
  if (path.empty() || path[0] != '/' || path.find('\0') != std::string::npos) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", path, "\" is not an absolute path"),
                     {"INVALID_PATH", path, "begin it with a slash"});
  }
  UniqueFd fd = OpenHostPath(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat info = {};
  if (!fd.ok() || fstat(fd.get(), &info) != 0) return ErrnoError(errno, path);
  if (!S_ISREG(info.st_mode)) {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(path, " is not a regular file"),
                     {"NOT_A_UML_KERNEL", path, "name the kernel's binary"});
  }
  if (static_cast<uint64_t>(info.st_size) <= most) return fd;
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(path, " has ", HumanByteSize(static_cast<uint64_t>(info.st_size)), ", and ",
                                HumanByteSize(most), " is the most"),
                   {"TOO_LARGE", path, "strip it (strip --strip-debug), or name another file"});
}

std::string Hex(const Content& content) { return std::string(absl::StripPrefix(content.digest, "sha256:")); }

// A folder that goes with all that is in it.
class WorkFolder {
 public:
  // A new one in `parent`, which is made if it is not there.
  static absl::StatusOr<std::unique_ptr<WorkFolder>> In(const std::string& parent) {
    RETURN_IF_ERROR(MakeFolders(parent, 0700));
    std::string path = absl::StrCat(parent, "/.new-XXXXXX");
    if (mkdtemp(path.data()) == nullptr) return ErrnoError(errno, absl::StrCat("make a folder in ", parent));
    return std::make_unique<WorkFolder>(std::move(path));
  }
  explicit WorkFolder(std::string path) : path_(std::move(path)) {}
  ~WorkFolder() {
    if (absl::Status removed = RemoveFolder(path_); !removed.ok()) {
      spdlog::warn("{}: {}", path_, std::string(removed.message()));
    }
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// In a kernel's description: what it was built from.
std::string KeyText(const std::string& key) { return absl::StrCat("build ", key.substr(0, 16)); }

}  // namespace

// What is imported, opened when it was asked for.
struct Kernels::Sources {
  v1::ImportKernelRequest request;
  UniqueFd binary, symbols;
  std::optional<Credentials> user;  // who asks
  bool make_default = false;
  uint32_t progress_from = 0;  // percent
};

absl::StatusOr<OperationView> Kernels::Import(const v1::ImportKernelRequest& request, const Caller& caller) {
  if (!request.request_id().empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request.request_id()));
    if (earlier.has_value()) return operations_->Get(earlier->id);
  }
  ASSIGN_OR_RETURN(const std::string id, ParseId(request.kernel_id()));
  RETURN_IF_ERROR(CheckNewId(id));
  RETURN_IF_ERROR(CheckRelaxed(state::kKernelPrefix + id, caller));
  if (catalog_->Choose(state::kKernelPrefix + id).ok()) return Exists(id);
  RETURN_IF_ERROR(CheckDescription(request.description(), state::kKernelPrefix + id));
  auto sources = std::make_shared<Sources>();
  sources->request = request;
  sources->user = caller.user;
  ASSIGN_OR_RETURN(sources->binary, ActAs(caller.user, [&] { return OpenSource(request.path(), kMostBinary); }));
  if (!request.symbols_path().empty()) {
    ASSIGN_OR_RETURN(sources->symbols,
                     ActAs(caller.user, [&] { return OpenSource(request.symbols_path(), kMostSymbols); }));
  }
  state::OperationRow row;
  row.verb = "import-kernel";
  row.target = state::kKernelPrefix + id;
  row.request_id = request.request_id();
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  pool_->Submit([this, id, sources, operation = begun.row] {
    const absl::Status status = Annotate(RunImport(id, *sources, operation), absl::StrCat("kernel ", id));
    if (!status.ok()) operations_->Finish(operation, status);
  });
  return OperationView{begun.row, 0, ""};
}

absl::StatusOr<Kernels::Part> Kernels::TakeFile(const ContentStore& store, int source, const std::string& name,
                                                uint64_t most,
                                                const std::function<void(uint64_t done, uint64_t total)>& progress) {
  struct stat info = {};
  if (fstat(source, &info) != 0) return ErrnoError(errno, name);
  Part part;
  ASSIGN_OR_RETURN(part.draft, store.Begin());
  std::string buffer(kChunk, '\0');
  for (uint64_t done = 0;;) {
    const ssize_t n = pread(source, buffer.data(), buffer.size(), static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("read ", name));
    if (n == 0) break;
    for (ssize_t put = 0; put < n;) {
      const ssize_t written = write(part.draft.fd(), buffer.data() + put, static_cast<size_t>(n - put));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return ErrnoError(errno, absl::StrCat("write ", part.draft.path()));
      put += written;
    }
    done += static_cast<uint64_t>(n);
    if (done > most) return ErrnoError(EFBIG, absl::StrCat(name, " grew while it was read"));
    progress(done, std::max(done, static_cast<uint64_t>(info.st_size)));
  }
  return part;
}

absl::StatusOr<Kernels::Part> Kernels::TakeModules(const std::string& path, const std::string& version,
                                                   const std::optional<Credentials>& user) {
  if (version.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "a kernel that does not say its version can have no modules",
                     {"MODULES_DO_NOT_MATCH", path, "leave --modules out"});
  }
  ASSIGN_OR_RETURN(const ModulesFolder folder, ActAs(user, [&] { return OpenModules(path, version); }));
  ASSIGN_OR_RETURN(const std::unique_ptr<WorkFolder> work, WorkFolder::In(folder_));
  Part part;
  ASSIGN_OR_RETURN(part.draft, modules_.Begin());
  RETURN_IF_ERROR(BuildModulesImage(folder, version, user, work->path(), part.draft.path()));
  return part;
}

absl::Status Kernels::RunImport(const std::string& id, Sources& sources, const state::OperationRow& operation) {
  const v1::ImportKernelRequest& request = sources.request;
  const auto copying = [&](uint32_t from, uint32_t to, const char* what) {
    return [this, from, to, what, &operation, &sources](uint64_t done, uint64_t total) {
      const uint32_t percent = from + static_cast<uint32_t>((to - from) * done / std::max(total, done));
      operations_->SetProgress(operation.id, std::max(percent, sources.progress_from), what);
    };
  };
  state::KernelRow row;
  row.name = id;
  row.description = request.description();
  row.is_default = sources.make_default;
  std::vector<std::pair<const ContentStore*, Part*>> parts;

  ASSIGN_OR_RETURN(Part binary, TakeFile(binaries_, sources.binary.get(), request.path(), kMostBinary,
                                         copying(0, 30, "copying the kernel")));
  // What was copied is what is examined, and what guests will run.
  operations_->SetProgress(operation.id, std::max(30U, sources.progress_from), "reading the kernel");
  ASSIGN_OR_RETURN(const kernel::KernelText text, kernel::ReadKernel(binary.draft.fd(), request.path()));
  ASSIGN_OR_RETURN(binary.content, binaries_.Seal(binary.draft, nullptr));
  row.sha256 = Hex(binary.content);
  parts.emplace_back(&binaries_, &binary);

  Part symbols, modules;
  if (sources.symbols.ok()) {
    ASSIGN_OR_RETURN(symbols, TakeFile(symbols_, sources.symbols.get(), request.symbols_path(), kMostSymbols,
                                       copying(40, 60, "copying its symbols")));
    ASSIGN_OR_RETURN(const std::string build_id, kernel::ReadSymbols(symbols.draft.fd(), request.symbols_path()));
    if (build_id != text.build_id) {
      return MakeError(absl::StatusCode::kInvalidArgument,
                       absl::StrCat(request.symbols_path(), " has the build id ", build_id, ", the kernel ",
                                    text.build_id.empty() ? "none" : text.build_id),
                       {"SYMBOLS_DO_NOT_MATCH", request.symbols_path(), "name the debug file of this very build"});
    }
    ASSIGN_OR_RETURN(symbols.content, symbols_.Seal(symbols.draft, nullptr));
    row.symbols = Hex(symbols.content);
    parts.emplace_back(&symbols_, &symbols);
  }
  if (!request.modules_path().empty()) {
    operations_->SetProgress(operation.id, 60, "making a file system of its modules");
    ASSIGN_OR_RETURN(modules, TakeModules(request.modules_path(), text.version, sources.user));
    ASSIGN_OR_RETURN(modules.content, modules_.Seal(modules.draft, nullptr));
    row.modules = Hex(modules.content);
    parts.emplace_back(&modules_, &modules);
  }
  operations_->SetProgress(operation.id, 95, "keeping it");
  return Keep(std::move(row), std::move(parts), operation);
}

absl::Status Kernels::Keep(state::KernelRow row, std::vector<std::pair<const ContentStore*, Part*>> parts,
                           const state::OperationRow& operation) {
  absl::MutexLock lock(&change_);
  if (catalog_->Choose(state::kKernelPrefix + row.name).ok()) return Exists(row.name);
  row.created_ns = absl::ToUnixNanos(absl::Now());
  absl::Status status;
  for (const auto& [store, part] : parts) {
    status = store->Place(std::move(part->draft), &part->content);
    if (!status.ok()) break;
  }
  // With the effect goes its outcome: a retry finds either both or neither.
  const state::OperationRow done = Operations::Outcome(operation, absl::OkStatus());
  if (status.ok()) {
    status = Commit("kernel.imported", row.name, [&](state::Transaction& transaction) -> absl::Status {
      RETURN_IF_ERROR(transaction.InsertKernel(row));
      if (row.is_default) RETURN_IF_ERROR(transaction.SetDefaultKernel(row.name));
      return transaction.UpdateOperation(done);
    });
  }
  if (!status.ok()) {
    RemoveUnneeded(row);
    return status;
  }
  operations_->Published(done);
  return absl::OkStatus();
}

absl::StatusOr<OperationView> Kernels::Build(const v1::BuildKernelRequest& request, const Caller& caller) {
  if (!request.request_id().empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request.request_id()));
    if (earlier.has_value()) return operations_->Get(earlier->id);
  }
  ASSIGN_OR_RETURN(const std::string id, ParseId(request.kernel_id().empty() ? kFastKernel : request.kernel_id()));
  RETURN_IF_ERROR(CheckNewId(id));
  RETURN_IF_ERROR(CheckRelaxed(state::kKernelPrefix + id, caller));
  if (const std::string& source = request.source_path(); !source.empty() && source[0] != '/') {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", source, "\" is not an absolute path"),
                     {"INVALID_PATH", source, "begin it with a slash"});
  }
  if (!request.keep_default()) RETURN_IF_ERROR(CheckRelaxed("", caller));
  // A source's Makefile is run as umld.
  if (!request.source_path().empty()) RETURN_IF_ERROR(NeedsAdmin(caller, "to build a source of one's own"));
  state::OperationRow row;
  row.verb = "build-kernel";
  row.target = state::kKernelPrefix + id;
  row.request_id = request.request_id();
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  operations_->AllowCancel(begun.row.id);
  pool_->Submit([this, id, request, operation = begun.row] {
    const absl::Status status = Annotate(RunBuild(id, request, operation), absl::StrCat("kernel ", id));
    if (!status.ok()) operations_->Finish(operation, status);
  });
  return OperationView{begun.row, 0, ""};
}

absl::Status Kernels::BuildUnlessThere() {
  if (catalog_->Choose(absl::StrCat(state::kKernelPrefix, kFastKernel)).ok()) return absl::OkStatus();
  return Build(v1::BuildKernelRequest(), Caller()).status();
}

absl::Status Kernels::RunBuild(const std::string& id, const v1::BuildKernelRequest& request,
                               const state::OperationRow& operation) {
  const auto progress = [&](int percent, const char* what) {
    absl::Status wanted = operations_->SetByteProgress(operation.id, what, 0, 0);
    operations_->SetProgress(operation.id, static_cast<uint32_t>(percent), what);
    return wanted;
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<WorkFolder> work, WorkFolder::In(folder_));
  RETURN_IF_ERROR(progress(0, "reading the source"));
  ASSIGN_OR_RETURN(const FastKernelBuild build, FastKernelBuild::Prepare(work->path(), request.source_path()));
  for (const state::KernelRow& row : catalog_->rows()) {
    if (row.name != id) continue;
    // The same build would be the same file.
    if (!absl::StrContains(row.description, KeyText(build.key()))) return Exists(id);
    if (!request.keep_default()) RETURN_IF_ERROR(SetDefault(state::kKernelPrefix + id, Caller()).status());
    operations_->Finish(operation, absl::OkStatus());
    return absl::OkStatus();
  }
  Sources sources;
  ASSIGN_OR_RETURN(const std::string path,
                   build.Run([&](int percent) { return progress(percent * 95 / 100, "compiling"); }));
  sources.request.set_path(path);
  sources.request.set_description(absl::StrCat("the fast kernel, built here; ", KeyText(build.key())));
  sources.make_default = !request.keep_default();
  sources.progress_from = 95;
  ASSIGN_OR_RETURN(sources.binary, OpenSource(path, kMostBinary));
  return RunImport(id, sources, operation);
}

}  // namespace umld
