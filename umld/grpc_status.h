#ifndef UMLD_UMLD_GRPC_STATUS_H_
#define UMLD_UMLD_GRPC_STATUS_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "umld/worker_pool.h"

namespace umld {

// The one place where a Status becomes gRPC's: code, message, and google.rpc.Status with an ErrorInfo in the details.
grpc::Status ToGrpc(const absl::Status& status);

// Ends a unary call with a result.
template <typename Response>
void Finish(grpc::ServerUnaryReactor* reactor, Response* response, absl::StatusOr<Response> result) {
  if (result.ok()) *response = *std::move(result);
  reactor->Finish(ToGrpc(result.status()));
}

// Answers a unary call from memory, at once.
template <typename Response>
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, Response* response,
                                 absl::StatusOr<Response> result) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Finish(reactor, response, std::move(result));
  return reactor;
}

// Answers a unary call by work that may block, on the pool: nothing blocks in a reactor. The work goes on when the
// client is gone.
template <typename Response>
grpc::ServerUnaryReactor* AnswerOnPool(grpc::CallbackServerContext* context, WorkerPool* pool, Response* response,
                                       std::function<absl::StatusOr<Response>()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  pool->Submit([=] { Finish(reactor, response, work()); });
  return reactor;
}

}  // namespace umld

#endif  // UMLD_UMLD_GRPC_STATUS_H_
