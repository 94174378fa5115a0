#include "umld/clone_service.h"

#include "base/status.h"
#include "umld/caller.h"
#include "umld/grpc_status.h"
#include "umld/operation_service.h"

namespace umld {

grpc::ServerUnaryReactor* CloneService::CloneGuest(grpc::CallbackServerContext* context,
                                                   const v1::CloneGuestRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response,
                                     [=, this, caller = CallerOf(*context)]() -> absl::StatusOr<v1::Operation> {
                                       RETURN_IF_ERROR(caller.status());
                                       ASSIGN_OR_RETURN(const OperationView view, clones_->Clone(*request, *caller));
                                       return ToProto(view);
                                     });
}

grpc::ServerUnaryReactor* CloneService::GetCloneReport(grpc::CallbackServerContext* context,
                                                       const v1::GetCloneReportRequest* request,
                                                       v1::CloneReport* response) {
  return AnswerOnPool<v1::CloneReport>(context, pool_, response,
                                       [=, this] { return clones_->Report(request->operation()); });
}

}  // namespace umld
