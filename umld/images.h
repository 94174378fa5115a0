#ifndef UMLD_UMLD_IMAGES_H_
#define UMLD_UMLD_IMAGES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"
#include "image/entry.h"
#include "state/store.h"
#include "umld/caller.h"
#include "umld/content_store.h"
#include "umld/daemon_config.h"
#include "umld/event_log.h"
#include "umld/guest_table.h"
#include "umld/operations.h"
#include "umld/v1/images.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The images of this host: contents that never change in STATE/images, and the names that lead to them.
// A content is kept as long as a name leads to it or a guest needs it. Thread-safe; blocks on the disk.
class Images {
 public:
  // All outlive it.
  Images(const DaemonConfig* config, state::Store* store, GuestTable* table, Operations* operations, EventLog* events,
         WorkerPool* pool);

  // Before the guests are loaded: images of an older umld get their digests (their files are read), and what a killed
  // umld left half-made is removed.
  absl::Status Recover();

  // By name, and what has none after that.
  absl::StatusOr<std::vector<v1::Image>> List();
  absl::StatusOr<v1::Image> Get(const std::string& name);
  // Files of the host are read and made with the caller's permissions.
  // The next five commit the intent and return; the operation says how it ends.
  absl::StatusOr<OperationView> Build(const v1::BuildImageRequest& request);
  absl::StatusOr<OperationView> Import(const v1::ImportImageRequest& request, const Caller& caller);
  absl::StatusOr<OperationView> Export(const v1::ExportImageRequest& request, const Caller& caller);
  absl::StatusOr<OperationView> Verify(const v1::VerifyImageRequest& request);

  // A source that arrives piece by piece. Whether it may be imported is asked first.
  absl::StatusOr<Draft> BeginUpload(const v1::ImportImageRequest& request);
  absl::Status TakeUpload(const Draft& upload, absl::string_view data);
  absl::StatusOr<OperationView> ImportUpload(const v1::ImportImageRequest& request, Draft source);
  // The image's content, open for reading.
  absl::StatusOr<UniqueFd> Open(const std::string& name);

  // An image that comes along with something else.
  struct Arrival {
    std::optional<Draft> draft;  // its content; none: it is here already
    std::string digest;          // what it has to be; empty: whatever it is
    std::string name;            // what it is called unless that name is taken; empty: nothing
    state::ImageRow row = {};    // out: as it is here
    bool is_new = false;         // out
  };
  absl::StatusOr<Draft> BeginArrival() { return contents_.Begin(); }
  // The image with this digest. kNotFound.
  absl::StatusOr<state::ImageRow> FindDigest(const std::string& digest) { return Find(digest); }
  // Takes the images in together with what needs them: `commit` gets what it has to do in its transaction, and when it
  // fails none of them is here. kInvalidArgument BAD_ARCHIVE: a content is not what its digest says. kNotFound.
  using InTransaction = std::function<absl::Status(state::Transaction&)>;
  absl::Status TakeIn(std::vector<Arrival>* arrivals, const ByteProgress& progress,
                      const std::function<absl::Status(const InTransaction& insert_images)>& commit);

  absl::StatusOr<v1::Image> Tag(const v1::TagImageRequest& request);
  absl::Status Delete(const std::string& name);
  absl::StatusOr<v1::PruneImagesResponse> Prune();

 private:
  struct Source;
  // What fills a draft; returns what the image is, in words.
  using Fill = std::function<absl::StatusOr<std::string>(const Draft& draft, uint64_t operation)>;

  // Also ends the work when there is no more room for the file `made` (disk_room.h); -1: it is none of umld's.
  image::StepProgress ReportTo(uint64_t operation, int made = -1);
  v1::Image Show(const state::ImageRow& row, const std::string& name);
  absl::StatusOr<state::ImageRow> Find(const std::string& name);
  // The names of guests that need this file: by their rows, or by a disk plugged for now.
  std::set<std::string> GuestsOf(const state::ImageRow& row) const;

  // The name that a new image gets. kAlreadyExists: it is taken.
  absl::StatusOr<std::string> NewName(const std::string& image_id, bool replace);
  absl::StatusOr<OperationView> Begin(const char* verb, const std::string& target, const std::string& request_id,
                                      std::function<absl::Status(uint64_t operation)> body);
  absl::StatusOr<OperationView> BeginMaking(const char* verb, const std::string& name, bool replace,
                                            const std::string& request_id, Fill fill);
  bool IsDamaged(const std::string& digest, uint64_t operation);
  absl::Status Make(const char* event, const std::string& name, bool replace, const Fill& fill, uint64_t operation);
  absl::StatusOr<OperationView> BeginImport(const v1::ImportImageRequest& request, std::shared_ptr<Source> source);
  absl::StatusOr<OperationView> BeginMerge(const v1::ImportImageRequest& request, const Caller& caller);
  absl::Status RunVerify(const state::ImageRow& row, bool repair, uint64_t operation);
  absl::Status Commit(const char* event_type, const std::string& name, const std::string& message,
                      const std::function<absl::Status(state::Transaction&)>& change);

  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  Operations* const operations_;
  EventLog* const events_;
  WorkerPool* const pool_;
  const ContentStore contents_;
  // Held while a file and its row come or go together.
  absl::Mutex mutex_;
};

}  // namespace umld

#endif  // UMLD_UMLD_IMAGES_H_
