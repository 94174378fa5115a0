#ifndef UMLD_UMLD_POOL_SERVICE_H_
#define UMLD_UMLD_POOL_SERVICE_H_

#include "umld/v1/pools.grpc.pb.h"
#include "umld/warm_pool.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of WarmPool.
class PoolService final : public v1::Pools::CallbackService {
 public:
  PoolService(WarmPool* warm_pool, WorkerPool* pool) : warm_pool_(warm_pool), pool_(pool) {}

  grpc::ServerUnaryReactor* SetPool(grpc::CallbackServerContext*, const v1::SetPoolRequest*, v1::Pool*) override;
  grpc::ServerUnaryReactor* ListPools(grpc::CallbackServerContext*, const v1::ListPoolsRequest*,
                                      v1::ListPoolsResponse*) override;

 private:
  WarmPool* const warm_pool_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_POOL_SERVICE_H_
