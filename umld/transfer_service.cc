#include "umld/transfer_service.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "base/status.h"
#include "umld/caller.h"
#include "umld/grpc_status.h"
#include "umld/operation_service.h"
#include "umld/sparse_stream.h"

namespace umld {
namespace {

// The next piece is made when the last one has been taken.
class ExportStream final : public grpc::ServerWriteReactor<v1::ExportGuestResponse> {
 public:
  ExportStream(GuestExports* exports, WorkerPool* pool, const absl::StatusOr<Caller>& caller,
               const v1::ExportGuestRequest& request)
      : pool_(pool) {
    pool_->Submit([this, exports, caller, request] {
      if (!caller.ok()) return Finish(ToGrpc(caller.status()));
      exports->Begin(request, *caller, [this](absl::StatusOr<std::unique_ptr<GuestExport>> begun) {
        if (!begun.ok()) return Finish(ToGrpc(begun.status()));
        export_ = *std::move(begun);
        message_.set_total_bytes(export_->total_bytes());
        message_.mutable_notes()->Add(export_->notes().begin(), export_->notes().end());
        StartWrite(&message_);
      });
    });
  }
  void OnWriteDone(bool ok) override {
    pool_->Submit([this, ok] {
      if (!ok) return Finish(grpc::Status::CANCELLED);
      absl::StatusOr<std::string> piece = export_->Next();
      if (!piece.ok() || piece->empty()) return Finish(ToGrpc(piece.status()));
      message_.Clear();
      message_.set_data(*std::move(piece));
      StartWrite(&message_);
    });
  }
  void OnDone() override {
    // What it was made of may be large.
    pool_->Submit([this] { delete this; });
  }

 private:
  WorkerPool* const pool_;
  std::unique_ptr<GuestExport> export_;
  v1::ExportGuestResponse message_;
};

// One message at a time; nothing blocks in gRPC's threads.
class ImportStream final : public grpc::ServerReadReactor<v1::ImportGuestRequest> {
 public:
  ImportStream(GuestImports* imports, WorkerPool* pool, absl::StatusOr<Caller> caller,
               v1::ImportGuestResponse* response)
      : imports_(imports), pool_(pool), caller_(std::move(caller)), response_(response) {
    StartRead(&message_);
  }
  void OnReadDone(bool ok) override {
    pool_->Submit([this, ok] {
      if (!ok) return End();
      if (absl::Status status = Take(); !status.ok()) return Give(status);
      StartRead(&message_);
    });
  }
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override {
    pool_->Submit([this] { delete this; });
  }

 private:
  absl::Status Take() {
    if (import_ == nullptr) {
      RETURN_IF_ERROR(caller_.status());
      import_ = imports_->Begin(message_.options(), *caller_);
    }
    return import_->Feed(message_.data());
  }
  // The client has sent all, or is gone: what is whole says so itself.
  void End() {
    if (cancelled_ || import_ == nullptr) {
      return Give(MakeError(cancelled_ ? absl::StatusCode::kCancelled : absl::StatusCode::kInvalidArgument,
                            "nothing was sent", {"BAD_ARCHIVE", "", "begin with a message that has `options`"}));
    }
    absl::StatusOr<v1::ImportGuestResponse> made = import_->Finish([this] { return cancelled_.load(); });
    if (made.ok()) *response_ = *made;
    Give(made.status());
  }
  // What was half there is gone when the caller hears of it.
  void Give(const absl::Status& status) {
    import_.reset();
    Finish(ToGrpc(status));
  }

  GuestImports* const imports_;
  WorkerPool* const pool_;
  const absl::StatusOr<Caller> caller_;
  v1::ImportGuestResponse* const response_;
  v1::ImportGuestRequest message_;
  std::unique_ptr<GuestImports::Import> import_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace

grpc::ServerWriteReactor<v1::ExportGuestResponse>* TransferService::ExportGuest(grpc::CallbackServerContext* context,
                                                                                const v1::ExportGuestRequest* request) {
  return new ExportStream(exports_, pool_, CallerOf(*context), *request);
}

grpc::ServerReadReactor<v1::ImportGuestRequest>* TransferService::ImportGuest(grpc::CallbackServerContext* context,
                                                                              v1::ImportGuestResponse* response) {
  return new ImportStream(imports_, pool_, CallerOf(*context), response);
}

grpc::ServerWriteReactor<v1::DownloadVolumeResponse>* TransferService::DownloadVolume(
    grpc::CallbackServerContext*, const v1::DownloadVolumeRequest* request) {
  return new SparseStream<v1::DownloadVolumeResponse>(
      pool_, [this, name = request->name()]() -> absl::StatusOr<SparseSource> {
        SparseSource source;
        ASSIGN_OR_RETURN(source.fd, volumes_->OpenToRead(name, &source.hold));
        return source;
      });
}

grpc::ServerUnaryReactor* TransferService::CommitDiskFile(grpc::CallbackServerContext* context,
                                                          const v1::CommitDiskFileRequest* request,
                                                          v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    ASSIGN_OR_RETURN(const OperationView view, commits_->Begin(*request, caller));
    return ToProto(view);
  });
}

}  // namespace umld
