// Images that come along with something else.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "umld/image_name.h"
#include "umld/images.h"

namespace umld {
namespace {

const state::ImageRow* FindRow(const std::vector<state::ImageRow>& rows, const std::string& digest) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.digest == digest; });
  return found == rows.end() ? nullptr : &*found;
}

absl::Status Missing(const std::string& digest) {
  return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("the image ", digest, " is not here any more"),
                   {"IMAGE_MISSING", "images/" + digest, "import the image first"});
}

}  // namespace

absl::Status Images::TakeIn(std::vector<Arrival>* arrivals, const ByteProgress& progress,
                            const std::function<absl::Status(const InTransaction& insert_images)>& commit) {
  std::vector<Content> contents;
  for (const Arrival& arrival : *arrivals) {
    Content content;
    if (arrival.draft.has_value()) {
      ASSIGN_OR_RETURN(content, contents_.Seal(*arrival.draft, progress));
      if (!arrival.digest.empty() && content.digest != arrival.digest) {
        return MakeError(absl::StatusCode::kInvalidArgument,
                         absl::StrCat("the image in the archive is not ", arrival.digest, ", which it should be"),
                         {"BAD_ARCHIVE", arrival.digest, "get the archive once more from where it was made"});
      }
    }
    contents.push_back(content);
  }
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(std::vector<state::ImageRow> rows, store_->LoadImages());
  std::vector<std::string> placed;
  absl::Status status;
  for (size_t i = 0; i < arrivals->size() && status.ok(); ++i) {
    Arrival& arrival = (*arrivals)[i];
    const std::string& digest = arrival.draft.has_value() ? contents[i].digest : arrival.digest;
    if (const state::ImageRow* here = FindRow(rows, digest); here != nullptr) {
      arrival.row = *here;
      arrival.row.names.clear();
      continue;
    }
    if (!arrival.draft.has_value()) {
      status = Missing(digest);
      continue;
    }
    status = contents_.Place(*std::exchange(arrival.draft, std::nullopt), &contents[i]);
    if (!status.ok()) continue;
    placed.push_back(contents[i].path);
    arrival.is_new = true;
    arrival.row.digest = digest;
    arrival.row.path = contents[i].path;
    arrival.row.size_bytes = contents[i].size_bytes;
    arrival.row.mtime_ns = contents[i].mtime_ns;
    arrival.row.description = "came with a guest";
    arrival.row.created_ns = absl::ToUnixNanos(absl::Now());
    rows.push_back(arrival.row);
    if (!arrival.name.empty() && !FindImage(rows, arrival.name).ok()) {
      arrival.row.names = {arrival.name};
      rows.back().names = arrival.row.names;
    }
  }
  std::vector<state::EventRow> events;
  if (status.ok()) {
    status = commit([&](state::Transaction& transaction) -> absl::Status {
      for (const Arrival& arrival : *arrivals) {
        if (!arrival.is_new) continue;
        RETURN_IF_ERROR(transaction.InsertImage(arrival.row));
        state::EventRow event;
        event.type = "image.imported";
        event.subject = "images/" + (arrival.row.names.empty() ? arrival.row.digest : arrival.name);
        event.message = arrival.row.digest;
        event.time_ns = arrival.row.created_ns;
        ASSIGN_OR_RETURN(event.sequence, transaction.AppendEvent(event));
        events.push_back(event);
      }
      return absl::OkStatus();
    });
  }
  if (status.ok()) {
    events_->Publish(events);
    return status;
  }
  for (const std::string& path : placed) contents_.Remove(path).IgnoreError();
  return status;
}

}  // namespace umld
