#include "umld/pool_service.h"

#include "base/status.h"
#include "umld/caller.h"
#include "umld/grpc_status.h"

namespace umld {

grpc::ServerUnaryReactor* PoolService::SetPool(grpc::CallbackServerContext* context, const v1::SetPoolRequest* request,
                                               v1::Pool* response) {
  return AnswerOnPool<v1::Pool>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Pool> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    RETURN_IF_ERROR(NeedsAdmin(caller, "what waits in the warm pool"));
    return warm_pool_->Set(*request);
  });
}

grpc::ServerUnaryReactor* PoolService::ListPools(grpc::CallbackServerContext* context, const v1::ListPoolsRequest*,
                                                 v1::ListPoolsResponse* response) {
  return AnswerOnPool<v1::ListPoolsResponse>(
      context, pool_, response, [this]() -> absl::StatusOr<v1::ListPoolsResponse> { return warm_pool_->List(); });
}

}  // namespace umld
