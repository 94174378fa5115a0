#ifndef UMLD_VMCORE_RECORDS_H_
#define UMLD_VMCORE_RECORDS_H_

#include "absl/status/status.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// The files in the runtime directory, which is the working directory, that tell umld what is and what was.
// All block on the disk.

// `launch`: the message that this vmcore was started with. Survives a power cut.
absl::Status WriteLaunchRecord(const v1::Launch& launch);
// `status`: replaced in one step, not synced, since a reboot of the host voids it.
absl::Status WriteStatusRecord(const v1::Facts& facts);
// `exit`: survives a power cut, since a lost one would make a finished guest look crashed.
absl::Status WriteExitRecord(const v1::Exit& exit);
// Removes an `exit` that a former guest of this directory left.
void RemoveExitRecord();

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_RECORDS_H_
