#ifndef UMLD_UMLCTL_RPC_STATUS_H_
#define UMLD_UMLCTL_RPC_STATUS_H_

#include "absl/status/status.h"
#include "umld/v1/resources.pb.h"

namespace grpc {
class Status;
}

namespace umld::umlctl {

// What the daemon answered, with the reason, subject and hint of the ErrorInfo in its trailer. A transport's failure
// comes without these.
absl::Status FromRpc(const grpc::Status& status);

// How an operation that is done ended; OK when it succeeded or still goes on.
absl::Status FromOperation(const v1::Operation& operation);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_RPC_STATUS_H_
