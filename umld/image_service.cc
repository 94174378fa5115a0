#include "umld/image_service.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "umld/caller.h"
#include "umld/grpc_status.h"
#include "umld/operation_service.h"
#include "umld/sparse_stream.h"

namespace umld {
namespace {

absl::StatusOr<v1::Operation> Shown(const absl::StatusOr<OperationView>& view) {
  if (!view.ok()) return view.status();
  return ToProto(*view);
}

// What a client sends goes into a hidden file; the import begins when all of it is there. One message at a time, and
// nothing blocks in gRPC's threads.
class Upload final : public grpc::ServerReadReactor<v1::UploadImageRequest> {
 public:
  Upload(Images* images, WorkerPool* pool, v1::Operation* response)
      : images_(images), pool_(pool), response_(response) {
    StartRead(&message_);
  }
  void OnReadDone(bool ok) override {
    pool_->Submit([this, ok] {
      if (!ok) return End();
      if (absl::Status status = Take(); !status.ok()) return Finish(ToGrpc(status));
      StartRead(&message_);
    });
  }
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override {
    // Removing a large file may take its time.
    pool_->Submit([this] { delete this; });
  }

 private:
  absl::Status Take() {
    if (!draft_.has_value()) {
      request_ = message_.request();
      ASSIGN_OR_RETURN(draft_, images_->BeginUpload(request_));
    }
    return images_->TakeUpload(*draft_, message_.data());
  }
  // The client has sent all, or is gone.
  void End() {
    if (cancelled_) return Finish(grpc::Status::CANCELLED);
    if (!draft_.has_value()) {
      return Finish(ToGrpc(MakeError(absl::StatusCode::kInvalidArgument, "nothing was sent",
                                     {"EMPTY_SOURCE", "", "begin with a message that has `request`"})));
    }
    const absl::StatusOr<OperationView> view = images_->ImportUpload(request_, *std::move(draft_));
    if (view.ok()) *response_ = ToProto(*view);
    Finish(ToGrpc(view.status()));
  }

  Images* const images_;
  WorkerPool* const pool_;
  v1::Operation* const response_;
  v1::UploadImageRequest message_;
  v1::ImportImageRequest request_;
  std::optional<Draft> draft_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace

grpc::ServerUnaryReactor* ImageService::ListImages(grpc::CallbackServerContext* context, const v1::ListImagesRequest*,
                                                   v1::ListImagesResponse* response) {
  return AnswerOnPool<v1::ListImagesResponse>(context, pool_, response,
                                              [this]() -> absl::StatusOr<v1::ListImagesResponse> {
                                                ASSIGN_OR_RETURN(std::vector<v1::Image> images, images_->List());
                                                v1::ListImagesResponse list;
                                                for (v1::Image& image : images) *list.add_images() = std::move(image);
                                                return list;
                                              });
}

grpc::ServerUnaryReactor* ImageService::GetImage(grpc::CallbackServerContext* context,
                                                 const v1::GetImageRequest* request, v1::Image* response) {
  return AnswerOnPool<v1::Image>(context, pool_, response, [=, this] { return images_->Get(request->name()); });
}

grpc::ServerUnaryReactor* ImageService::BuildImage(grpc::CallbackServerContext* context,
                                                   const v1::BuildImageRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this] { return Shown(images_->Build(*request)); });
}

grpc::ServerUnaryReactor* ImageService::ImportImage(grpc::CallbackServerContext* context,
                                                    const v1::ImportImageRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    return Shown(images_->Import(*request, caller));
  });
}

grpc::ServerReadReactor<v1::UploadImageRequest>* ImageService::UploadImage(grpc::CallbackServerContext*,
                                                                           v1::Operation* response) {
  return new Upload(images_, pool_, response);
}

grpc::ServerUnaryReactor* ImageService::ExportImage(grpc::CallbackServerContext* context,
                                                    const v1::ExportImageRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this]() -> absl::StatusOr<v1::Operation> {
    ASSIGN_OR_RETURN(const Caller caller, CallerOf(*context));
    return Shown(images_->Export(*request, caller));
  });
}

grpc::ServerWriteReactor<v1::DownloadImageResponse>* ImageService::DownloadImage(
    grpc::CallbackServerContext*, const v1::DownloadImageRequest* request) {
  return new SparseStream<v1::DownloadImageResponse>(pool_,
                                                     [this, name = request->name()]() -> absl::StatusOr<SparseSource> {
                                                       ASSIGN_OR_RETURN(UniqueFd fd, images_->Open(name));
                                                       return SparseSource{.fd = std::move(fd)};
                                                     });
}

grpc::ServerUnaryReactor* ImageService::TagImage(grpc::CallbackServerContext* context,
                                                 const v1::TagImageRequest* request, v1::Image* response) {
  return AnswerOnPool<v1::Image>(context, pool_, response, [=, this] { return images_->Tag(*request); });
}

grpc::ServerUnaryReactor* ImageService::DeleteImage(grpc::CallbackServerContext* context,
                                                    const v1::DeleteImageRequest* request,
                                                    v1::DeleteImageResponse* response) {
  return AnswerOnPool<v1::DeleteImageResponse>(context, pool_, response,
                                               [=, this]() -> absl::StatusOr<v1::DeleteImageResponse> {
                                                 RETURN_IF_ERROR(images_->Delete(request->name()));
                                                 return v1::DeleteImageResponse();
                                               });
}

grpc::ServerUnaryReactor* ImageService::PruneImages(grpc::CallbackServerContext* context, const v1::PruneImagesRequest*,
                                                    v1::PruneImagesResponse* response) {
  return AnswerOnPool<v1::PruneImagesResponse>(context, pool_, response, [this] { return images_->Prune(); });
}

grpc::ServerUnaryReactor* ImageService::VerifyImage(grpc::CallbackServerContext* context,
                                                    const v1::VerifyImageRequest* request, v1::Operation* response) {
  return AnswerOnPool<v1::Operation>(context, pool_, response, [=, this] { return Shown(images_->Verify(*request)); });
}

}  // namespace umld
