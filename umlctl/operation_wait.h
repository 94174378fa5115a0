#ifndef UMLD_UMLCTL_OPERATION_WAIT_H_
#define UMLD_UMLCTL_OPERATION_WAIT_H_

#include "absl/status/statusor.h"
#include "umlctl/session.h"

namespace umld::umlctl {

// Blocks until `operation` is done, through restarts of umld of up to 30 s each, and shows its progress. Returns it, or
// the error that it ended with.
// Thread: any.
absl::StatusOr<v1::Operation> WaitForOperation(Session& session, Client& client, v1::Operation operation);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_OPERATION_WAIT_H_
