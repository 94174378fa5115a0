#include "umld/images.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/credentials.h"
#include "base/file.h"
#include "base/status.h"
#include "devices/disk/cow_content.h"
#include "google/protobuf/util/time_util.h"
#include "guest/tiny_image.h"
#include "image/import.h"
#include "image/raw_copy.h"
#include "spdlog/spdlog.h"
#include "umld/cow_risk.h"
#include "umld/debian_image.h"
#include "umld/description.h"
#include "umld/disk_files.h"
#include "umld/disk_room.h"
#include "umld/host_file.h"
#include "umld/image_name.h"
#include "umld/vmcore_wire.h"

namespace umld {
namespace {

constexpr mode_t kMode = 0400;
constexpr int64_t kSecond = 1000000000;

absl::Status NameTaken(const std::string& name) {
  return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is an image \"", name, "\" already"),
                   {"IMAGE_EXISTS", "images/" + name,
                    absl::StrCat("use it, choose another name, or move the name to the new image with --replace")});
}

// Each of them shows all.
constexpr size_t kMostNames = 64;

absl::Status CheckOneMoreName(const state::ImageRow& row) {
  if (row.names.size() < kMostNames) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the image has ", row.names.size(), " names"),
                   {"TOO_MANY_NAMES", row.digest, "remove one first: umlctl image delete NAME"});
}

v1::Image ShowRow(const state::ImageRow& row) {
  v1::Image image;
  image.set_path(row.path);
  image.set_size_bytes(row.size_bytes);
  struct stat info = {};
  if (stat(row.path.c_str(), &info) == 0) image.set_allocated_bytes(static_cast<uint64_t>(info.st_blocks) * 512);
  *image.mutable_create_time() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(row.created_ns);
  image.set_description(row.description);
  if (IsDigest(row.digest)) image.set_digest(row.digest);
  for (const std::string& alias : row.names) image.add_aliases(alias);
  return image;
}

}  // namespace

Images::Images(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations,
               EventLog* events, WorkerPool* pool)
    : config_(config),
      store_(store),
      table_(table),
      operations_(operations),
      events_(events),
      pool_(pool),
      contents_(config->state_dir + "/images", ".img", kMode) {}

absl::Status Images::Recover() {
  ASSIGN_OR_RETURN(std::vector<state::ImageRow> rows, store_->LoadImages());
  std::set<std::string> needed;
  for (state::ImageRow& row : rows) {
    needed.insert(row.path);
    if (IsDigest(row.digest)) continue;
    spdlog::info("reading image {}, made by an older umld", row.digest);
    absl::StatusOr<Content> content = ContentStore::Read(row.path, nullptr);
    absl::Status status = content.status();
    if (status.ok()) {
      // The file stays where it is: the COW files over it name it.
      if (chmod(row.path.c_str(), kMode) != 0) spdlog::warn("image {}: its mode cannot be set", row.digest);
      state::ImageRow read = row;
      read.digest = content->digest;
      read.size_bytes = content->size_bytes;
      read.mtime_ns = content->mtime_ns;
      status =
          store_->Commit([&](state::Transaction& transaction) { return transaction.ReplaceImage(row.digest, read); });
    }
    // It stays an image without a digest, which can be deleted.
    if (!status.ok()) spdlog::error("image {}: {}", row.digest, std::string(status.message()));
  }
  contents_.RemoveLeftovers(needed);
  return absl::OkStatus();
}

std::set<std::string> Images::GuestsOf(const state::ImageRow& row) const {
  std::set<std::string> guests;
  const auto over = [&](const state::DiskRow& disk) { return disk.path == row.path || disk.backing == row.path; };
  for (const GuestView& view : table_->Views()) {
    bool needs = view.row.image_digest == row.digest || std::any_of(view.row.disks.begin(), view.row.disks.end(), over);
    if (view.alive) {
      for (const vmcore::v1::Disk& live : view.facts.live_disks()) needs = needs || over(FromVmcoreDisk(live));
    }
    if (needs) guests.insert(view.row.name);
  }
  return guests;
}

v1::Image Images::Show(const state::ImageRow& row, const std::string& name) {
  v1::Image image = ShowRow(row);
  image.set_name("images/" + name);
  image.set_guests(static_cast<uint32_t>(GuestsOf(row).size()));
  return image;
}

absl::StatusOr<std::vector<v1::Image>> Images::List() {
  ASSIGN_OR_RETURN(std::vector<state::ImageRow> rows, store_->LoadImages());
  std::vector<v1::Image> images;
  std::vector<v1::Image> nameless;
  for (const state::ImageRow& row : rows) {
    const v1::Image shown = Show(row, row.digest);
    if (row.names.empty()) nameless.push_back(shown);
    for (const std::string& name : row.names) {
      images.push_back(shown);
      images.back().set_name("images/" + name);
    }
  }
  std::sort(images.begin(), images.end(), [](const auto& a, const auto& b) { return a.name() < b.name(); });
  images.insert(images.end(), nameless.begin(), nameless.end());
  return images;
}

absl::StatusOr<state::ImageRow> Images::Find(const std::string& name) {
  ASSIGN_OR_RETURN(std::vector<state::ImageRow> rows, store_->LoadImages());
  ASSIGN_OR_RETURN(const state::ImageRow* row, FindImage(rows, name));
  return *row;
}

absl::StatusOr<v1::Image> Images::Get(const std::string& name) {
  ASSIGN_OR_RETURN(const state::ImageRow row, Find(name));
  if (!IsDigest(name)) return Show(row, *ParseImageName(name));
  return Show(row, row.digest);
}

absl::StatusOr<std::string> Images::NewName(const std::string& image_id, bool replace) {
  ASSIGN_OR_RETURN(std::string name, ParseImageName(image_id));
  if (!replace && Find(name).ok()) return NameTaken(name);
  return name;
}

absl::StatusOr<OperationView> Images::Begin(const char* verb, const std::string& target, const std::string& request_id,
                                            std::function<absl::Status(uint64_t operation)> body) {
  state::OperationRow row;
  row.verb = verb;
  row.target = "images/" + target;
  row.request_id = request_id;
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  operations_->AllowCancel(begun.row.id);
  pool_->Submit([this, target, body = std::move(body), operation = begun.row] {
    operations_->Finish(operation, Annotate(body(operation.id), absl::StrCat("image ", target)));
  });
  return OperationView{.row = begun.row};
}

absl::StatusOr<OperationView> Images::BeginMaking(const char* verb, const std::string& name, bool replace,
                                                  const std::string& request_id, Fill fill) {
  const char* const event = absl::StartsWith(verb, "build") ? "image.built" : "image.imported";
  return Begin(verb, name, request_id, [this, event, name, replace, fill = std::move(fill)](uint64_t operation) {
    return Make(event, name, replace, fill, operation);
  });
}

// Nothing is there under its name before the last step; a draft that is given up removes itself.
absl::Status Images::Make(const char* event, const std::string& name, bool replace, const Fill& fill,
                          uint64_t operation) {
  ASSIGN_OR_RETURN(Draft draft, contents_.Begin());
  state::ImageRow row;
  ASSIGN_OR_RETURN(row.description, fill(draft, operation));
  ASSIGN_OR_RETURN(Content content, contents_.Seal(draft, [&](uint64_t done, uint64_t total) {
    return operations_->SetByteProgress(operation, "reading it once more for its digest", done, total);
  }));
  const bool damaged = IsDamaged(content.digest, operation);
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const std::vector<state::ImageRow> rows, store_->LoadImages());
  const auto same = std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.digest == content.digest; });
  if (same == rows.end()) {
    RETURN_IF_ERROR(contents_.Place(std::move(draft), &content));
    row.digest = content.digest;
    row.path = content.path;
    row.size_bytes = content.size_bytes;
    row.mtime_ns = content.mtime_ns;
    row.created_ns = absl::ToUnixNanos(absl::Now());
  } else if (damaged) {
    RETURN_IF_ERROR(contents_.Replace(std::move(draft), same->path, same->mtime_ns));
  }
  absl::Status status = Commit(event, name, content.digest, [&](state::Transaction& transaction) -> absl::Status {
    if (!replace && FindImage(rows, name).ok()) return NameTaken(name);
    RETURN_IF_ERROR(same == rows.end() ? transaction.InsertImage(row) : CheckOneMoreName(*same));
    return transaction.SetImageName(name, content.digest);
  });
  // A row that is there after all keeps its file; without one, the next start removes it too.
  if (!status.ok() && same == rows.end() && absl::IsNotFound(Find(content.digest).status())) {
    contents_.Remove(content.path).IgnoreError();
  }
  return status;
}

// Whether the file of this content, if there should be one, has another by now: who imports it again mends it.
bool Images::IsDamaged(const std::string& digest, uint64_t operation) {
  const absl::StatusOr<state::ImageRow> row = Find(digest);
  if (!row.ok()) return false;
  const absl::StatusOr<Content> now = ContentStore::Read(row->path, [&](uint64_t done, uint64_t total) {
    return operations_->SetByteProgress(operation, "reading what is there of it already", done, total);
  });
  return !now.ok() || now->digest != digest;
}

absl::StatusOr<OperationView> Images::Build(const v1::BuildImageRequest& request) {
  const std::string& kind = request.kind();
  if (kind != "tiny" && kind != "debian") {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", kind, "\" is not a kind of image"),
                     {"INVALID_IMAGE_KIND", kind, "this umld builds: tiny, debian"});
  }
  DebianOptions debian;
  if (!request.suite().empty()) debian.suite = request.suite();
  debian.mirror = request.mirror();
  debian.include.assign(request.include().begin(), request.include().end());
  debian.size_bytes = request.size_bytes();
  RETURN_IF_ERROR(CheckDebianOptions(debian));
  ASSIGN_OR_RETURN(const std::string name,
                   NewName(request.image_id().empty() ? kind : request.image_id(), request.replace()));
  if (kind == "debian") {
    return BeginMaking("build-image", name, request.replace(), request.request_id(),
                       [this, debian](const Draft& draft, uint64_t operation) -> absl::StatusOr<std::string> {
                         ASSIGN_OR_RETURN(const std::string work, contents_.BeginFolder());
                         const absl::Status status =
                             BuildDebianImage(debian, work, draft.path(), ReportTo(operation, draft.fd()));
                         RemoveFolder(work).IgnoreError();
                         RETURN_IF_ERROR(status);
                         return absl::StrCat("Debian ", debian.suite);
                       });
  }
  return BeginMaking("build-image", name, request.replace(), request.request_id(),
                     [this](const Draft& draft, uint64_t operation) -> absl::StatusOr<std::string> {
                       RETURN_IF_ERROR(guest::BuildTinyImage(
                           guest::kDefaultBusybox, draft.path(), [&](int percent, const std::string& what) {
                             operations_->SetProgress(operation, static_cast<uint32_t>(percent), what);
                           }));
                       return "busybox on ext4";
                     });
}

image::StepProgress Images::ReportTo(uint64_t operation, int made) {
  return [=, this](const std::string& what, uint64_t done, uint64_t total) -> absl::Status {
    if (made >= 0) RETURN_IF_ERROR(CheckDiskRoom(*config_, made));
    return operations_->SetByteProgress(operation, what, done, total);
  };
}

// What an import reads: a file or folder of the host, or what was uploaded.
struct Images::Source {
  UniqueFd fd;
  std::string text;  // for people
  Caller caller;     // who may read it
  Draft upload;
};

namespace {

absl::StatusOr<image::Format> ChosenFormat(v1::ImageFormat format, int source) {
  switch (format) {
    case v1::IMAGE_RAW:
      return image::Format::kRaw;
    case v1::IMAGE_QCOW2:
      return image::Format::kQcow2;
    case v1::IMAGE_TAR:
      return image::Format::kTar;
    case v1::IMAGE_FOLDER:
      return image::Format::kFolder;
    case v1::IMAGE_OCI:
      return image::Format::kOci;
    case v1::IMAGE_DOCKER:
      return image::Format::kDocker;
    default:
      return image::DetectFormat(source);
  }
}

}  // namespace

absl::StatusOr<OperationView> Images::BeginImport(const v1::ImportImageRequest& request,
                                                  std::shared_ptr<Source> source) {
  ASSIGN_OR_RETURN(const std::string name, NewName(request.image_id(), request.replace()));
  struct stat info = {};
  const bool is_folder = fstat(source->fd.get(), &info) == 0 && S_ISDIR(info.st_mode);
  if (!is_folder && !S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode)) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(source->text, " is no file, folder or block device"),
                     {"UNKNOWN_FORMAT", source->text, "give one of those"});
  }
  const absl::StatusOr<image::Format> format =
      ActAs(source->caller.user, [&] { return ChosenFormat(request.format(), source->fd.get()); });
  if (!format.ok()) return Annotate(format.status(), source->text);
  const bool takes_folder =
      *format == image::Format::kFolder || *format == image::Format::kOci || *format == image::Format::kDocker;
  if (is_folder ? !takes_folder : *format == image::Format::kFolder) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(source->text, " is ", is_folder ? "a" : "no", " folder, and cannot be ",
                                  image::FormatText(*format)),
                     {"UNKNOWN_FORMAT", source->text, "leave --format away, or give the right one"});
  }
  RETURN_IF_ERROR(CheckDescription(request.description(), name));
  std::string description = request.description();
  if (description.empty()) description = absl::StrCat("from ", source->text, " (", image::FormatText(*format), ")");
  return BeginMaking(
      "import-image", name, request.replace(), request.request_id(),
      [=, this, size = request.size_bytes()](const Draft& draft, uint64_t operation) -> absl::StatusOr<std::string> {
        Draft scratch;
        image::ImportOptions options;
        options.format = *format;
        options.size_bytes = size;
        options.as_reader = [&](const std::function<absl::Status()>& read) { return ActAs(source->caller.user, read); };
        options.scratch = [&]() -> absl::StatusOr<std::string> {
          ASSIGN_OR_RETURN(scratch, contents_.Begin());
          return scratch.path();
        };
        RETURN_IF_ERROR(Annotate(
            image::Import(source->fd.get(), draft.path(), options, ReportTo(operation, draft.fd())), source->text));
        if (*format != image::Format::kRaw && *format != image::Format::kQcow2) return description;
        // Nothing that umld could put right; who makes guests of it is to know.
        const UniqueFd made(open(draft.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        struct stat disk = {};
        fstat(made.get(), &disk);
        const auto read = [&made](uint64_t offset, size_t wanted) -> absl::StatusOr<std::string> {
          std::string bytes(wanted, '\0');
          const ssize_t got = pread(made.get(), bytes.data(), wanted, static_cast<off_t>(offset));
          if (got < 0) return ErrnoError(errno, "read the image");
          bytes.resize(static_cast<size_t>(got));
          return bytes;
        };
        const std::string risk = CowRisk(static_cast<uint64_t>(disk.st_size), read);
        return risk.empty() ? description : absl::StrCat(description, ". ", risk);
      });
}

absl::StatusOr<OperationView> Images::Import(const v1::ImportImageRequest& request, const Caller& caller) {
  if (request.format() == v1::IMAGE_COW) return BeginMerge(request, caller);
  auto source = std::make_shared<Source>();
  ASSIGN_OR_RETURN(source->fd, ActAs(caller.user, [&] { return OpenHostSource(request.source()); }));
  source->text = request.source();
  source->caller = caller;
  return BeginImport(request, source);
}

// A guest that is started meanwhile would write to what is read; its file is looked at once more at the end.
absl::StatusOr<OperationView> Images::BeginMerge(const v1::ImportImageRequest& request, const Caller& caller) {
  if (request.size_bytes() != 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "a disk keeps the size that it has",
                     {"INVALID_SIZE", request.source(), "leave --size away"});
  }
  ASSIGN_OR_RETURN(const std::string name, NewName(request.image_id(), request.replace()));
  ASSIGN_OR_RETURN(OpenCow opened, OpenCowFile(request.source(), request.backing(), caller, *table_));
  auto cow = std::make_shared<OpenCow>(std::move(opened));
  struct stat before = {};
  fstat(cow->cow.get(), &before);
  RETURN_IF_ERROR(CheckDescription(request.description(), name));
  std::string description = request.description();
  if (description.empty()) description = absl::StrCat("from ", request.source(), " over ", cow->backing_path);
  return BeginMaking(
      "import-image", name, request.replace(), request.request_id(),
      [=, this](const Draft& draft, uint64_t operation) -> absl::StatusOr<std::string> {
        const image::StepProgress report = ReportTo(operation, draft.fd());
        RETURN_IF_ERROR(image::CopyRaw(cow->backing.get(), draft.fd(), report));
        RETURN_IF_ERROR(devices::MergeCow(cow->cow.get(), cow->header, draft.fd(), [&](uint64_t done, uint64_t total) {
          return report("merging", done, total);
        }));
        struct stat after = {};
        fstat(cow->cow.get(), &after);
        if (after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec) {
          return MakeError(absl::StatusCode::kAborted, "the COW file changed while it was read",
                           {"SOURCE_CHANGED", "", "stop its guest, and ask again"});
        }
        return description;
      });
}

absl::StatusOr<Draft> Images::BeginUpload(const v1::ImportImageRequest& request) {
  RETURN_IF_ERROR(NewName(request.image_id(), request.replace()).status());
  return contents_.Begin();
}

absl::Status Images::TakeUpload(const Draft& upload, absl::string_view data) {
  RETURN_IF_ERROR(CheckDiskRoom(*config_, upload.fd()));
  while (!data.empty()) {
    const ssize_t written = write(upload.fd(), data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, "keep what is sent");
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<OperationView> Images::ImportUpload(const v1::ImportImageRequest& request, Draft upload) {
  auto source = std::make_shared<Source>();
  source->fd.reset(open(upload.path().c_str(), O_RDONLY | O_CLOEXEC));
  if (!source->fd.ok()) return ErrnoError(errno, upload.path());
  source->text = "what was sent";
  source->upload = std::move(upload);
  return BeginImport(request, source);
}

absl::StatusOr<UniqueFd> Images::Open(const std::string& name) {
  ASSIGN_OR_RETURN(const state::ImageRow row, Find(name));
  UniqueFd fd(open(row.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return ErrnoError(errno, row.path);
  return fd;
}

absl::StatusOr<OperationView> Images::Export(const v1::ExportImageRequest& request, const Caller& caller) {
  if (request.format() != v1::IMAGE_FORMAT_UNSPECIFIED && request.format() != v1::IMAGE_RAW &&
      request.format() != v1::IMAGE_QCOW2) {
    return MakeError(absl::StatusCode::kInvalidArgument, "images are exported as raw or qcow2",
                     {"UNKNOWN_FORMAT", request.name(), "give one of those"});
  }
  ASSIGN_OR_RETURN(const state::ImageRow row, Find(request.name()));
  ASSIGN_OR_RETURN(UniqueFd from_fd, Open(request.name()));
  ASSIGN_OR_RETURN(UniqueFd to_fd, ActAs(caller.user, [&] { return BeginHostFile(request.path()); }));
  auto from = std::make_shared<UniqueFd>(std::move(from_fd));
  auto to = std::make_shared<UniqueFd>(std::move(to_fd));
  const std::string shown = IsDigest(request.name()) ? row.digest : *ParseImageName(request.name());
  return Begin(
      "export-image", shown, request.request_id(),
      [this, caller, from, to, path = request.path(), format = request.format()](uint64_t operation) -> absl::Status {
        const image::StepProgress progress = ReportTo(operation);
        RETURN_IF_ERROR(format == v1::IMAGE_QCOW2 ? image::WriteQcow2(from->get(), to->get(), progress)
                                                  : image::CopyRaw(from->get(), to->get(), progress));
        return ActAs(caller.user, [&] { return EndHostFile(to->get(), path); });
      });
}

absl::StatusOr<v1::Image> Images::Tag(const v1::TagImageRequest& request) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const state::ImageRow row, Find(request.name()));
  ASSIGN_OR_RETURN(const std::string name, ParseImageName(request.image_id()));
  if (absl::StatusOr<state::ImageRow> taken = Find(name); taken.ok()) {
    if (taken->digest == row.digest) return Show(row, name);
    if (!request.replace()) return NameTaken(name);
  }
  RETURN_IF_ERROR(CheckOneMoreName(row));
  RETURN_IF_ERROR(Commit("image.tagged", name, row.digest,
                         [&](state::Transaction& transaction) { return transaction.SetImageName(name, row.digest); }));
  return Get(name);
}

absl::Status Images::Delete(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const state::ImageRow row, Find(name));
  const bool whole = IsDigest(name) || row.names.size() <= 1;
  if (!whole) {
    ASSIGN_OR_RETURN(const std::string plain, ParseImageName(name));
    return Commit("image.deleted", plain, "",
                  [&](state::Transaction& transaction) { return transaction.DeleteImageName(plain); });
  }
  const std::string shown = IsDigest(name) ? row.digest : *ParseImageName(name);
  // The transaction knows the guests' rows; what is plugged for now only they themselves know.
  if (const std::set<std::string> guests = GuestsOf(row); !guests.empty()) {
    std::vector<std::string> some(guests.begin(), std::next(guests.begin(), std::min<size_t>(guests.size(), 5)));
    if (guests.size() > some.size()) some.push_back(absl::StrCat("and ", guests.size() - some.size(), " more"));
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     absl::StrCat("image ", shown, " is needed by guest", guests.size() == 1 ? " " : "s ",
                                  absl::StrJoin(some, ", ")),
                     {"IMAGE_IN_USE", "images/" + shown, "delete those guests first"});
  }
  // The row goes first: a file without a row is removed at the next start, a row without a file is a guest that does
  // not start.
  RETURN_IF_ERROR(Annotate(Commit("image.deleted", shown, "",
                                  [&](state::Transaction& transaction) { return transaction.DeleteImage(row.digest); }),
                           absl::StrCat("image ", shown)));
  return contents_.Remove(row.path);
}

absl::StatusOr<v1::PruneImagesResponse> Images::Prune() {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const std::vector<state::ImageRow> rows, store_->LoadImages());
  v1::PruneImagesResponse response;
  for (const state::ImageRow& row : rows) {
    if (!row.names.empty() || !GuestsOf(row).empty()) continue;
    const v1::Image image = Show(row, row.digest);
    const absl::Status status = Commit("image.deleted", row.digest, "", [&](state::Transaction& transaction) {
      return transaction.DeleteImage(row.digest);
    });
    // A guest that was made this very moment.
    if (absl::IsFailedPrecondition(status)) continue;
    RETURN_IF_ERROR(status);
    RETURN_IF_ERROR(contents_.Remove(row.path));
    response.set_freed_bytes(response.freed_bytes() + image.allocated_bytes());
    *response.add_images() = image;
  }
  return response;
}

absl::StatusOr<OperationView> Images::Verify(const v1::VerifyImageRequest& request) {
  ASSIGN_OR_RETURN(const state::ImageRow row, Find(request.name()));
  if (!IsDigest(row.digest)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "it has no digest: its file could not be read at the start",
                     {"IMAGE_UNREAD", "images/" + row.digest, "umld's log says why"});
  }
  const std::string shown = IsDigest(request.name()) ? row.digest : *ParseImageName(request.name());
  return Begin("verify-image", shown, request.request_id(), [this, row, repair = request.repair()](uint64_t operation) {
    return RunVerify(row, repair, operation);
  });
}

absl::Status Images::RunVerify(const state::ImageRow& row, bool repair, uint64_t operation) {
  ASSIGN_OR_RETURN(const Content content, ContentStore::Read(row.path, [&](uint64_t done, uint64_t total) {
                     return operations_->SetByteProgress(operation, "reading", done, total);
                   }));
  if (content.digest != row.digest) {
    return MakeError(absl::StatusCode::kDataLoss,
                     absl::StrCat(row.path, " has been changed: it is now ", content.digest),
                     {"IMAGE_DAMAGED", row.path, "put the file back from a copy, or import the same again"});
  }
  struct stat info = {};
  if (stat(row.path.c_str(), &info) != 0) return ErrnoError(errno, row.path);
  const bool writable = (info.st_mode & 0222) != 0;
  const bool moved = content.mtime_ns / kSecond != row.mtime_ns / kSecond;
  if (!writable && !moved) return absl::OkStatus();
  if (repair) {
    const timespec time = {.tv_sec = row.mtime_ns / kSecond, .tv_nsec = row.mtime_ns % kSecond};
    const timespec times[2] = {time, time};
    if (chmod(row.path.c_str(), kMode) != 0 || utimensat(AT_FDCWD, row.path.c_str(), times, 0) != 0) {
      return ErrnoError(errno, absl::StrCat("set the time of ", row.path));
    }
    return absl::OkStatus();
  }
  return MakeError(
      absl::StatusCode::kFailedPrecondition,
      moved ? absl::StrCat(row.path,
                           " has the right content, but another modification time: the guests over "
                           "it would not start")
            : absl::StrCat(row.path, " has the right content, but can be written to"),
      {moved ? "IMAGE_TIME_CHANGED" : "IMAGE_WRITABLE", row.path, "`umlctl image verify --repair` sets it right"});
}

absl::Status Images::Commit(const char* event_type, const std::string& name, const std::string& message,
                            const std::function<absl::Status(state::Transaction&)>& change) {
  std::vector<state::EventRow> events(1);
  events[0].type = event_type;
  events[0].subject = "images/" + name;
  events[0].message = message;
  events[0].time_ns = absl::ToUnixNanos(absl::Now());
  RETURN_IF_ERROR(store_->Commit([&](state::Transaction& transaction) -> absl::Status {
    RETURN_IF_ERROR(change(transaction));
    ASSIGN_OR_RETURN(events[0].sequence, transaction.AppendEvent(events[0]));
    return absl::OkStatus();
  }));
  events_->Publish(events);
  return absl::OkStatus();
}

}  // namespace umld
