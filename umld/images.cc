#include "umld/images.h"

#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "base/umid.h"
#include "google/protobuf/util/time_util.h"
#include "guest/tiny_image.h"

namespace umld {
namespace {

// Builds of images share one line: they are rare, and two of one name must not run at once. Guests' ids begin at 1.
constexpr uint64_t kBuildLine = 0;

absl::StatusOr<std::string> ImageId(const std::string& name) {
  absl::string_view id = name;
  absl::ConsumePrefix(&id, "images/");
  absl::StatusOr<Umid> parsed = Umid::Parse(id);
  if (parsed.ok()) return parsed->str();
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("\"", id.substr(0, 80), "\" is not an image's name"),
                   {"INVALID_NAME", name, "use 1 to 64 letters, digits, '-', '_' and '.'"});
}

}  // namespace

v1::Image Images::Show(const state::ImageRow& row) {
  v1::Image image;
  image.set_name("images/" + row.name);
  image.set_path(row.path);
  image.set_size_bytes(row.size_bytes);
  struct stat info = {};
  if (stat(row.path.c_str(), &info) == 0) image.set_allocated_bytes(static_cast<uint64_t>(info.st_blocks) * 512);
  *image.mutable_create_time() = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(row.created_ns);
  image.set_description(row.description);
  uint32_t guests = 0;
  for (const GuestView& view : table_->Views()) guests += view.row.image == row.name ? 1 : 0;
  image.set_guests(guests);
  return image;
}

absl::StatusOr<std::vector<v1::Image>> Images::List() {
  ASSIGN_OR_RETURN(std::vector<state::ImageRow> rows, store_->LoadImages());
  std::vector<v1::Image> images;
  images.reserve(rows.size());
  for (const state::ImageRow& row : rows) images.push_back(Show(row));
  return images;
}

absl::StatusOr<v1::Image> Images::Get(const std::string& name) {
  ASSIGN_OR_RETURN(std::string id, ImageId(name));
  ASSIGN_OR_RETURN(std::vector<state::ImageRow> rows, store_->LoadImages());
  for (const state::ImageRow& row : rows) {
    if (row.name == id) return Show(row);
  }
  return MakeError(absl::StatusCode::kNotFound, absl::StrCat("there is no image \"", id, "\""),
                   {"IMAGE_NOT_FOUND", "images/" + id, "`umlctl image list` shows those there are"});
}

absl::StatusOr<OperationView> Images::Build(const std::string& kind, const std::string& image_id,
                                            const std::string& request_id) {
  if (kind != "tiny") {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", kind, "\" is not a kind of image"),
                     {"INVALID_IMAGE_KIND", kind, "this umld builds: tiny"});
  }
  ASSIGN_OR_RETURN(std::string id, ImageId(image_id.empty() ? kind : image_id));
  if (Get(id).ok()) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat("there is an image \"", id, "\" already"),
                     {"IMAGE_EXISTS", "images/" + id, absl::StrCat("use it, or `umlctl image delete ", id, "` first")});
  }
  state::OperationRow row;
  row.verb = "build-image";
  row.target = "images/" + id;
  row.request_id = request_id;
  ASSIGN_OR_RETURN(Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  pool_->SubmitInLine(kBuildLine, [this, id, operation = begun.row] {
    operations_->Finish(operation, Annotate(RunBuild(id, operation), absl::StrCat("image ", id)));
  });
  return OperationView{begun.row, 0, ""};
}

absl::Status Images::RunBuild(const std::string& id, const state::OperationRow& operation) {
  const std::string folder = config_->state_dir + "/images";
  RETURN_IF_ERROR(MakeFolders(folder, 0700));
  state::ImageRow row;
  row.name = id;
  row.path = absl::StrCat(folder, "/", id, ".img");
  row.description = "busybox on ext4";
  RETURN_IF_ERROR(guest::BuildTinyImage(guest::kDefaultBusybox, row.path, [&](int percent, const std::string& what) {
    operations_->SetProgress(operation.id, static_cast<uint32_t>(percent), what);
  }));
  struct stat info = {};
  if (stat(row.path.c_str(), &info) != 0) return ErrnoError(errno, row.path);
  row.size_bytes = static_cast<uint64_t>(info.st_size);
  row.created_ns = absl::ToUnixNanos(absl::Now());
  absl::Status status =
      Commit("image.built", id, [&](state::Transaction& transaction) { return transaction.InsertImage(row); });
  if (!status.ok() && !Get(id).ok()) unlink(row.path.c_str());
  return status;
}

absl::Status Images::Delete(const std::string& name) {
  ASSIGN_OR_RETURN(v1::Image image, Get(name));
  ASSIGN_OR_RETURN(std::string id, ImageId(name));
  // The row goes first: a file without a row is only untidy, a row without a file is a guest that does not start.
  RETURN_IF_ERROR(Annotate(
      Commit("image.deleted", id, [&](state::Transaction& transaction) { return transaction.DeleteImage(id); }),
      absl::StrCat("image ", id)));
  if (unlink(image.path().c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, image.path());
  return absl::OkStatus();
}

absl::Status Images::Commit(const char* event_type, const std::string& id,
                            const std::function<absl::Status(state::Transaction&)>& change) {
  std::vector<state::EventRow> events(1);
  events[0].type = event_type;
  events[0].subject = "images/" + id;
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
