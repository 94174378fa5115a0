#ifndef UMLD_DEVICES_DISK_COW_CONTENT_H_
#define UMLD_DEVICES_DISK_COW_CONTENT_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "devices/disk/cow.h"

namespace umld::devices {

// What is in a COW file beyond its header. All take files that nobody writes to meanwhile, and a header that
// ParseCowHeader gave of that file. Thread: any. Block on the disk.

// Sectors of 512 bytes that the COW file has, rather than its backing file.
// kFailedPrecondition: the file ends within its bitmap, or says that it has sectors behind the disk's end.
absl::StatusOr<uint64_t> CountCowSectors(int cow, const CowHeader& header);

// Puts what the COW file has over what is in `into`, which begins as the backing file is: what the guest sees of the
// disk, as uml_moo makes it. Blocks of zeros are not written where `into` has a hole. The same again changes nothing.
// `progress` (may be empty) is called with the bytes of the disk done and all; an error from it ends the work.
// kFailedPrecondition as above; kResourceExhausted from the host.
absl::Status MergeCow(int cow, const CowHeader& header, int into,
                      const std::function<absl::Status(uint64_t done, uint64_t total)>& progress);

// Writes what the COW file has into its backing file, in place, and empties the COW file: who sees the disk through
// both sees no difference, at no moment. Both are open for reading and writing, and nobody else writes to them;
// `header` is the COW file's. The steps are in such an order that after a kill at any point the same call finishes it;
// until then the header may name a time of the backing file that is no longer true. On an error the COW file keeps all
// that it has and its header says the backing file's time, so that it can be used and committed again. Blocks.
absl::Status CommitCow(int cow, CowHeader header, int backing,
                       const std::function<absl::Status(uint64_t done, uint64_t total)>& progress);

}  // namespace umld::devices

#endif  // UMLD_DEVICES_DISK_COW_CONTENT_H_
