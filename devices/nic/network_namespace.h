#ifndef UMLD_DEVICES_NIC_NETWORK_NAMESPACE_H_
#define UMLD_DEVICES_NIC_NETWORK_NAMESPACE_H_

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace umld::devices {

// A network namespace of a guest's own, empty: its loopback is down, it has no addresses and no IPv6. It is there as
// long as this object or a process in it is; what is in it goes with it.
// Thread: any, of a process with one thread.
class NetworkNamespace {
 public:
  // Blocks for a short-lived child. kPermissionDenied: this host gives this process none.
  static absl::StatusOr<std::unique_ptr<NetworkNamespace>> Create();
  NetworkNamespace(const NetworkNamespace&) = delete;
  NetworkNamespace& operator=(const NetworkNamespace&) = delete;

  // For setns.
  int fd() const { return fd_.get(); }
  // The namespace that the creator was in: the host's, as far as a guest is concerned.
  int home_fd() const { return home_.get(); }

  // Runs `work` with this process in the namespace, and comes back. kPermissionDenied, and nothing is run: it could not
  // come back, since the host's namespace is not its user's (an ordinary user in a user namespace).
  absl::Status Run(absl::FunctionRef<absl::Status()> work) const;

 private:
  NetworkNamespace() = default;

  UniqueFd fd_, home_;
};

}  // namespace umld::devices

#endif  // UMLD_DEVICES_NIC_NETWORK_NAMESPACE_H_
