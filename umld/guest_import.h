#ifndef UMLD_UMLD_GUEST_IMPORT_H_
#define UMLD_UMLD_GUEST_IMPORT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "devices/disk/disk_spec.h"
#include "state/rows.h"
#include "umld/archive_reader.h"
#include "umld/caller.h"
#include "umld/content_store.h"
#include "umld/daemon_config.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/images.h"
#include "umld/operations.h"
#include "umld/v1/transfer.pb.h"

namespace umld {

// Makes guests of archives. Their files are drafts in STATE/imports and STATE/images until the guest is committed, and
// get their places in the same transaction. Thread-safe; blocks on the disk.
class GuestImports {
 public:
  // All outlive it.
  GuestImports(const DaemonConfig* config, GuestTable* table, Operations* operations, Guests* guests, Images* images);

  // What a killed umld left half-made goes. Before anything is begun, with the table loaded.
  void RemoveLeftovers();
  // One that an earlier umld left unfinished; false: it is no import.
  bool ResumeOperation(const state::OperationRow& operation);

  // One guest on its way in. Given up (destroyed) before Finish has returned OK, nothing of it is left. Thread: one at
  // a time.
  class Import;
  std::unique_ptr<Import> Begin(const v1::ImportGuestRequest::Options& options, const Caller& caller);

 private:
  const DaemonConfig* const config_;
  GuestTable* const table_;
  Operations* const operations_;
  Guests* const guests_;
  Images* const images_;
  const ContentStore drafts_;
};

class GuestImports::Import final : private ArchiveSink {
 public:
  Import(GuestImports* imports, v1::ImportGuestRequest::Options options, Caller caller)
      : imports_(imports), options_(std::move(options)), caller_(std::move(caller)), reader_(this) {}
  Import(const Import&) = delete;
  Import& operator=(const Import&) = delete;
  ~Import() override;

  // The next bytes of the archive.
  absl::Status Feed(absl::string_view bytes);
  // All has been fed: the guest is there, or not. May take long, and ends soon when `is_unwanted` begins to say so.
  absl::StatusOr<v1::ImportGuestResponse> Finish(const std::function<bool()>& is_unwanted);

 private:
  struct Disk {
    devices::DiskSpec spec;  // its path is known at the end
    std::string image;       // the id of what is under it
    Draft draft;
    std::string folder_name;  // "ubda.cow"
  };

  absl::Status TakeManifest(const v1::GuestArchive& manifest) override;
  absl::Status BeginFile(const std::string& file, uint64_t size) override;
  absl::Status Write(uint64_t offset, absl::string_view bytes) override;
  absl::Status EndFile() override;

  absl::Status TakeDisks(const v1::GuestArchive& manifest);
  absl::Status TakeImages(const v1::GuestArchive& manifest);
  absl::Status TakeWishes(const v1::GuestArchive& manifest);
  absl::Status Complete(const std::function<bool()>& is_unwanted);
  absl::Status CheckCow(const Disk& disk, const state::ImageRow& image) const;
  absl::Status Place(state::GuestRow* row);
  // Why it failed, for whoever looks at the operation; no more is done.
  absl::Status Fail(const absl::Status& status);

  GuestImports* const imports_;
  const v1::ImportGuestRequest::Options options_;
  const Caller caller_;
  ArchiveReader reader_;
  std::optional<state::OperationRow> operation_;  // begun and not ended
  v1::CreateGuestRequest request_;
  std::vector<std::string> notes_;
  std::vector<Disk> disks_;
  std::map<std::string, size_t> image_index_;  // of images_, by id
  std::vector<Images::Arrival> images_;
  std::string root_image_;  // the name that the archive gives it
  uint64_t received_ = 0;
  int current_ = -1;    // where what comes now is written; -1: it is here already
  std::string placed_;  // the new guest's folder, while it may have to go again
  GuestPtr guest_;
};

}  // namespace umld

#endif  // UMLD_UMLD_GUEST_IMPORT_H_
