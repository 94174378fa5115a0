#include "umld/operation_service.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "google/protobuf/util/time_util.h"
#include "umld/grpc_status.h"

namespace umld {
namespace {

using google::protobuf::util::TimeUtil;

constexpr absl::Duration kLongestWait = absl::Seconds(60);

absl::StatusOr<v1::ListOperationsResponse> List(Operations* operations, const v1::ListOperationsRequest& request) {
  uint64_t before = 0;
  if (!request.page_token().empty() && !absl::SimpleAtoi(request.page_token(), &before)) {
    return MakeError(absl::StatusCode::kInvalidArgument, "the page token is not one of ours",
                     {"INVALID_PAGE_TOKEN", "", "begin again without it"});
  }
  const int size = request.page_size() == 0 ? 100 : static_cast<int>(std::min<uint32_t>(request.page_size(), 1000));
  ASSIGN_OR_RETURN(auto views, operations->List(before, size + 1, request.unfinished_only()));
  v1::ListOperationsResponse response;
  const bool more = static_cast<int>(views.size()) > size;
  if (more) views.pop_back();
  for (const OperationView& view : views) *response.add_operations() = ToProto(view);
  if (more) response.set_next_page_token(absl::StrCat(views.back().row.id));
  return response;
}

}  // namespace

v1::Operation ToProto(const OperationView& operation) {
  const state::OperationRow& row = operation.row;
  v1::Operation out;
  out.set_name(OperationName(row.id));
  out.set_verb(row.verb);
  out.set_target(row.target);
  out.set_done(row.done);
  out.set_percent(row.done ? 100 : operation.percent);
  out.set_progress(row.done && row.code == absl::StatusCode::kOk ? row.message : operation.progress);
  out.set_done_bytes(operation.done_bytes);
  out.set_total_bytes(operation.total_bytes);
  *out.mutable_create_time() = TimeUtil::NanosecondsToTimestamp(row.created_ns);
  if (row.done) *out.mutable_end_time() = TimeUtil::NanosecondsToTimestamp(row.ended_ns);
  if (row.done && row.code != absl::StatusCode::kOk) {
    v1::OperationError* error = out.mutable_error();
    error->set_code(static_cast<int>(row.code));
    error->set_message(row.message);
    error->set_reason(row.reason);
    error->set_subject(row.subject);
    error->set_hint(row.hint);
  }
  return out;
}

grpc::ServerUnaryReactor* OperationService::GetOperation(grpc::CallbackServerContext* context,
                                                         const v1::GetOperationRequest* request,
                                                         v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(uint64_t id, ParseOperationName(request->name()));
    ASSIGN_OR_RETURN(OperationView view, operations_->Get(id));
    return ToProto(view);
  });
}

grpc::ServerUnaryReactor* OperationService::ListOperations(grpc::CallbackServerContext* context,
                                                           const v1::ListOperationsRequest* request,
                                                           v1::ListOperationsResponse* response) {
  return AnswerOnPool<v1::ListOperationsResponse>(context, pool_, response,
                                                  [=, this] { return List(operations_, *request); });
}

grpc::ServerUnaryReactor* OperationService::CancelOperation(grpc::CallbackServerContext* context,
                                                            const v1::CancelOperationRequest* request,
                                                            v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(uint64_t id, ParseOperationName(request->name()));
    RETURN_IF_ERROR(operations_->Cancel(id));
    ASSIGN_OR_RETURN(OperationView view, operations_->Get(id));
    return ToProto(view);
  });
}

grpc::ServerUnaryReactor* OperationService::WaitOperation(grpc::CallbackServerContext* context,
                                                          const v1::WaitOperationRequest* request,
                                                          v1::Operation* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::StatusOr<uint64_t> id = ParseOperationName(request->name());
  if (!id.ok()) {
    reactor->Finish(ToGrpc(id.status()));
    return reactor;
  }
  absl::Duration timeout = kLongestWait;
  if (request->has_timeout()) {
    timeout = std::min(timeout, absl::Milliseconds(TimeUtil::DurationToMilliseconds(request->timeout())));
  }
  // Get may block on the database when the operation has ended; that is the pool's.
  pool_->Submit([=, this] {
    operations_->Wait(*id, timeout, [=](absl::StatusOr<OperationView> view) {
      if (view.ok()) *response = ToProto(*view);
      reactor->Finish(ToGrpc(view.status()));
    });
  });
  return reactor;
}

}  // namespace umld
