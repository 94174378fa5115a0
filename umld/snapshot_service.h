#ifndef UMLD_UMLD_SNAPSHOT_SERVICE_H_
#define UMLD_UMLD_SNAPSHOT_SERVICE_H_

#include "umld/snapshots.h"
#include "umld/v1/snapshots.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of Snapshots.
class SnapshotService final : public v1::Snapshots::CallbackService {
 public:
  SnapshotService(Snapshots* snapshots, WorkerPool* pool) : snapshots_(snapshots), pool_(pool) {}

  grpc::ServerUnaryReactor* CreateSnapshot(grpc::CallbackServerContext*, const v1::CreateSnapshotRequest*,
                                           v1::Operation*) override;
  grpc::ServerUnaryReactor* CreateSnapshots(grpc::CallbackServerContext*, const v1::CreateSnapshotsRequest*,
                                            v1::Operation*) override;
  grpc::ServerUnaryReactor* ListSnapshots(grpc::CallbackServerContext*, const v1::ListSnapshotsRequest*,
                                          v1::ListSnapshotsResponse*) override;
  grpc::ServerUnaryReactor* GetSnapshot(grpc::CallbackServerContext*, const v1::GetSnapshotRequest*,
                                        v1::Snapshot*) override;
  grpc::ServerUnaryReactor* RestoreSnapshot(grpc::CallbackServerContext*, const v1::RestoreSnapshotRequest*,
                                            v1::Operation*) override;
  grpc::ServerUnaryReactor* DeleteSnapshot(grpc::CallbackServerContext*, const v1::DeleteSnapshotRequest*,
                                           v1::DeleteSnapshotResponse*) override;

 private:
  Snapshots* const snapshots_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_SNAPSHOT_SERVICE_H_
