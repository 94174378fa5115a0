#ifndef UMLD_STATE_TRANSACTION_H_
#define UMLD_STATE_TRANSACTION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "state/rows.h"

namespace umld::state {

// One open write transaction. Valid only inside the function that Store::Commit calls; every method is part of the
// same commit. An error from any of them is to be returned, which rolls all of it back.
class Transaction {
 public:
  virtual ~Transaction() = default;

  // Inserts with devices; returns the new id. kAlreadyExists: the name is taken. kNotFound: no image with that digest,
  // no such kernel.
  virtual absl::StatusOr<uint64_t> InsertGuest(const GuestRow& guest) = 0;
  // Replaces the row and all its devices. kNotFound, also for its image and kernel; kAlreadyExists: a rename to a taken
  // name.
  virtual absl::Status UpdateGuest(const GuestRow& guest) = 0;
  // Removes the guest and its devices; its operations and events stay as history.
  virtual absl::Status DeleteGuest(uint64_t id) = 0;

  // With its names, which must be free. kAlreadyExists: the digest, or a name (IMAGE_EXISTS).
  virtual absl::Status InsertImage(const ImageRow& image) = 0;
  // Makes the name lead to this image, whatever it led to before. kNotFound: no such image.
  virtual absl::Status SetImageName(absl::string_view name, absl::string_view digest) = 0;
  virtual absl::Status DeleteImageName(absl::string_view name) = 0;  // kNotFound
  // With its names. kNotFound; kFailedPrecondition IMAGE_IN_USE: guests need it, or have a disk over its file; or a
  // snapshot.
  virtual absl::Status DeleteImage(absl::string_view digest) = 0;
  // Puts `image` in the place of the image with `digest`, for its names and guests too. kNotFound; kAlreadyExists.
  virtual absl::Status ReplaceImage(absl::string_view digest, const ImageRow& image) = 0;

  virtual absl::Status InsertKernel(const KernelRow& kernel) = 0;  // kAlreadyExists
  // kNotFound; kFailedPrecondition: it is the default, or guests name it.
  virtual absl::Status DeleteKernel(absl::string_view name) = 0;
  // The only default from now on; empty: none is. kNotFound.
  virtual absl::Status SetDefaultKernel(absl::string_view name) = 0;

  virtual absl::Status InsertVolume(const VolumeRow& volume) = 0;  // kAlreadyExists
  virtual absl::Status DeleteVolume(absl::string_view name) = 0;   // kNotFound
  virtual absl::Status SetPool(const PoolRow& pool) = 0;           // with no kernel to wait it is removed
  // Takes `count` ids, which no guest gets any more, and returns the first.
  virtual absl::StatusOr<uint64_t> ReserveGuestIds(uint64_t count) = 0;
  // With its disks. kAlreadyExists: the guest has one of that name.
  virtual absl::Status InsertSnapshot(const SnapshotRow& snapshot) = 0;
  virtual absl::Status DeleteSnapshot(uint64_t id) = 0;  // with its disks; kNotFound

  // Returns the new id. kAlreadyExists REQUEST_ID_TAKEN: another operation has that request_id, unless it is empty.
  virtual absl::StatusOr<uint64_t> InsertOperation(const OperationRow& operation) = 0;
  virtual absl::Status UpdateOperation(const OperationRow& operation) = 0;  // kNotFound

  // Returns the sequence number given.
  virtual absl::StatusOr<uint64_t> AppendEvent(const EventRow& event) = 0;
};

}  // namespace umld::state

#endif  // UMLD_STATE_TRANSACTION_H_
