#ifndef UMLD_UMLD_HOST_SERVICE_H_
#define UMLD_UMLD_HOST_SERVICE_H_

#include "absl/time/time.h"
#include "state/store.h"
#include "umld/daemon_config.h"
#include "umld/guest_table.h"
#include "umld/kernel_catalog.h"
#include "umld/v1/services.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// What this host is and offers, and the files that are not of one guest.
class HostService final : public v1::Host::CallbackService {
 public:
  HostService(const DaemonConfig* config, state::Store* store, GuestTable* table, const KernelCatalog* catalog,
              WorkerPool* pool)
      : config_(config), store_(store), table_(table), catalog_(catalog), pool_(pool), started_(absl::Now()) {}
  grpc::ServerUnaryReactor* GetHost(grpc::CallbackServerContext*, const v1::GetHostRequest*, v1::HostInfo*) override;
  grpc::ServerUnaryReactor* CreateDiskFile(grpc::CallbackServerContext*, const v1::CreateDiskFileRequest*,
                                           v1::DiskFile*) override;
  grpc::ServerUnaryReactor* GetDiskFile(grpc::CallbackServerContext*, const v1::GetDiskFileRequest*,
                                        v1::DiskFile*) override;
  grpc::ServerUnaryReactor* RebaseDiskFile(grpc::CallbackServerContext*, const v1::RebaseDiskFileRequest*,
                                           v1::DiskFile*) override;

 private:
  const DaemonConfig* const config_;
  state::Store* const store_;
  GuestTable* const table_;
  const KernelCatalog* const catalog_;
  WorkerPool* const pool_;
  const absl::Time started_;
};

}  // namespace umld

#endif  // UMLD_UMLD_HOST_SERVICE_H_
