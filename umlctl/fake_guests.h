#ifndef UMLD_UMLCTL_FAKE_GUESTS_H_
#define UMLD_UMLCTL_FAKE_GUESTS_H_

#include <memory>

#include "umlctl/fake_daemon.h"
#include "umld/v1/services.grpc.pb.h"

namespace umld::umlctl {

// The Guests service of FakeDaemon. `state` outlives it.
std::unique_ptr<v1::Guests::Service> MakeFakeGuests(FakeDaemon::State& state);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_FAKE_GUESTS_H_
