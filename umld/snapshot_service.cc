#include "umld/snapshot_service.h"

#include "base/status.h"
#include "umld/caller.h"
#include "umld/grpc_status.h"
#include "umld/operation_service.h"

namespace umld {

using Context = grpc::CallbackServerContext;
using Reactor = grpc::ServerUnaryReactor;

Reactor* SnapshotService::CreateSnapshot(Context* context, const v1::CreateSnapshotRequest* request,
                                         v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(OperationView view, snapshots_->Create(*request));
    return ToProto(view);
  });
}

Reactor* SnapshotService::CreateSnapshots(Context* context, const v1::CreateSnapshotsRequest* request,
                                          v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(OperationView view, snapshots_->CreateSet(*request));
    return ToProto(view);
  });
}

Reactor* SnapshotService::ListSnapshots(Context* context, const v1::ListSnapshotsRequest* request,
                                        v1::ListSnapshotsResponse* response) {
  return AnswerOnPool<v1::ListSnapshotsResponse>(context, pool_, response,
                                                 [=, this] { return snapshots_->List(*request); });
}

Reactor* SnapshotService::GetSnapshot(Context* context, const v1::GetSnapshotRequest* request, v1::Snapshot* response) {
  return AnswerOnPool<v1::Snapshot>(context, pool_, response, [=, this] { return snapshots_->Get(request->name()); });
}

Reactor* SnapshotService::RestoreSnapshot(Context* context, const v1::RestoreSnapshotRequest* request,
                                          v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    ASSIGN_OR_RETURN(OperationView view, snapshots_->Restore(*request, caller));
    return ToProto(view);
  });
}

Reactor* SnapshotService::DeleteSnapshot(Context* context, const v1::DeleteSnapshotRequest* request,
                                         v1::DeleteSnapshotResponse*) {
  Reactor* reactor = context->DefaultReactor();
  pool_->Submit([=, this] {
    snapshots_->Delete(request->name(), [reactor](const absl::Status& status) { reactor->Finish(ToGrpc(status)); });
  });
  return reactor;
}

}  // namespace umld
