#include "umld/cow_commits.h"

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/credentials.h"
#include "base/status.h"
#include "devices/disk/cow_content.h"
#include "spdlog/spdlog.h"
#include "umld/disk_files.h"

namespace umld {
namespace {

constexpr char kCommit[] = "commit-disk";

// What an operation has to know: the request, who asked, and the header's time before anything was written.
struct Intent {
  v1::CommitDiskFileRequest request;
  Caller caller;
  uint32_t mtime = 0;
};

std::string Encode(const Intent& intent) {
  return absl::StrCat(intent.mtime, " ", intent.caller.user.has_value() ? intent.caller.user->ToText() : "-", "\n",
                      intent.request.SerializeAsString());
}

absl::StatusOr<Intent> Decode(const std::string& payload) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(payload, absl::MaxSplits('\n', 1));
  const std::pair<std::string, std::string> words = absl::StrSplit(parts.first, absl::MaxSplits(' ', 1));
  Intent intent;
  if (!absl::SimpleAtoi(words.first, &intent.mtime) || !intent.request.ParseFromString(parts.second)) {
    return absl::InternalError("the operation's intent cannot be read");
  }
  if (words.second != "-") {
    ASSIGN_OR_RETURN(intent.caller.user, Credentials::Parse(words.second));
  }
  return intent;
}

}  // namespace

absl::StatusOr<OperationView> CowCommits::Begin(const v1::CommitDiskFileRequest& request, const Caller& caller) {
  if (!request.request_id().empty()) {
    ASSIGN_OR_RETURN(auto earlier, store_->FindOperationByRequestId(request.request_id()));
    if (earlier.has_value()) return operations_->Get(earlier->id);
  }
  Intent intent = {.request = request, .caller = caller};
  {
    ASSIGN_OR_RETURN(const auto images, store_->LoadImages());
    ASSIGN_OR_RETURN(const auto snapshots, store_->LoadSnapshots());
    ASSIGN_OR_RETURN(const WritableCow open, OpenCowForCommit(request.path(), request.backing(), caller, *table_,
                                                              images, snapshots, /*begun_mtime=*/0));
    intent.mtime = open.header.mtime;
    // The guest's row may change before a next umld reads this.
    intent.request.set_backing(open.backing_path);
  }
  state::OperationRow row;
  row.verb = kCommit;
  row.target = request.path();
  row.payload = Encode(intent);
  row.request_id = request.request_id();
  ASSIGN_OR_RETURN(const Operations::Begun begun, operations_->Begin(row));
  if (!begun.is_new) return operations_->Get(begun.row.id);
  Queue(begun.row);
  return OperationView{.row = begun.row};
}

void CowCommits::Queue(const state::OperationRow& operation) {
  const std::string guest = GuestWithDisk(operation.target, *table_);
  const auto run = [this, operation] { operations_->Finish(operation, Run(operation)); };
  // In its line, so that a start waits for the end.
  if (guest.empty()) return pool_->Submit(run);
  guests_->InLine(guest, [run](const absl::StatusOr<GuestPtr>&) { run(); });
}

absl::Status CowCommits::Run(const state::OperationRow& operation) {
  ASSIGN_OR_RETURN(const Intent intent, Decode(operation.payload));
  ASSIGN_OR_RETURN(const auto images, store_->LoadImages());
  ASSIGN_OR_RETURN(const auto snapshots, store_->LoadSnapshots());
  ASSIGN_OR_RETURN(const WritableCow open, OpenCowForCommit(intent.request.path(), intent.request.backing(),
                                                            intent.caller, *table_, images, snapshots, intent.mtime));
  return Annotate(devices::CommitCow(open.cow.get(), open.header, open.backing.get(),
                                     [&](uint64_t done, uint64_t total) {
                                       return operations_->SetByteProgress(
                                           operation.id, "writing into the backing file", done, total);
                                     }),
                  intent.request.path());
}

bool CowCommits::ResumeOperation(const state::OperationRow& operation) {
  if (operation.verb != kCommit) return false;
  operations_->Resume(operation);
  spdlog::info("{}: the commit of {} goes on", OperationName(operation.id), operation.target);
  Queue(operation);
  return true;
}

}  // namespace umld
