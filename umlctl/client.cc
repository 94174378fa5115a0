#include "umlctl/client.h"

#include <grpc/support/log.h>
#include <grpcpp/channel.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/random.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/call_warnings.h"
#include "base/status.h"
#include "umlctl/address.h"
#include "umlctl/rpc_status.h"
#include "umld/v1/clones.grpc.pb.h"
#include "umld/v1/images.grpc.pb.h"
#include "umld/v1/kernels.grpc.pb.h"
#include "umld/v1/pools.grpc.pb.h"
#include "umld/v1/services.grpc.pb.h"
#include "umld/v1/snapshots.grpc.pb.h"
#include "umld/v1/transfer.grpc.pb.h"
#include "umld/v1/volumes.grpc.pb.h"

namespace umld::umlctl {
namespace {

constexpr absl::Duration kReadTimeout = absl::Seconds(30);
// Deleting a large guest, freezing a busy one: the daemon has its own, shorter deadlines towards the guest.
constexpr absl::Duration kChangeTimeout = absl::Minutes(2);
// What WaitOperation gets on top of the time it may wait.
constexpr absl::Duration kWaitSlack = absl::Seconds(15);
constexpr absl::Duration kRestartPatience = absl::Seconds(30);
constexpr absl::Duration kRetryPause = absl::Milliseconds(200);
constexpr uint32_t kPageSize = 1000;

enum class Resend { kSafe, kUnsafe };

// A broken connection in words for people; what the daemon answered stays as it is.
absl::Status Explain(const absl::Status& status, const std::string& socket_path) {
  if (status.code() != absl::StatusCode::kUnavailable || !GetErrorDetail(status).reason.empty()) return status;
  return MakeError(status.code(),
                   absl::StrCat("the connection to umld at ", socket_path, " was lost (", status.message(), ")"),
                   {kDaemonUnreachable, socket_path, "it may be starting anew: try again"});
}

void SetDeadline(grpc::ClientContext& context, absl::Time deadline) {
  if (deadline != absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(deadline));
}

// gRPC's own lines ("connection reset") would stand beside our one error message.
void QuietLibrary() {
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
}

Client::Warnings WarningsOf(const grpc::ClientContext& context) {
  Client::Warnings warnings;
  const auto [begin, end] = context.GetServerTrailingMetadata().equal_range(kWarningMetadata);
  for (auto it = begin; it != end; ++it) warnings.emplace_back(it->second.data(), it->second.size());
  return warnings;
}

class GrpcConsoleStream final : public ConsoleStream {
 public:
  GrpcConsoleStream(const std::shared_ptr<grpc::Channel>& channel, std::string socket_path)
      : socket_path_(std::move(socket_path)),
        stub_(v1::Consoles::NewStub(channel)),
        stream_(stub_->AttachConsole(&context_)) {}

  bool Write(const v1::AttachConsoleRequest& request) override { return stream_->Write(request); }
  void WritesDone() override { stream_->WritesDone(); }
  bool Read(v1::AttachConsoleResponse* response) override { return stream_->Read(response); }
  void Cancel() override { context_.TryCancel(); }
  absl::Status Finish() override { return Explain(FromRpc(stream_->Finish()), socket_path_); }

 private:
  const std::string socket_path_;
  grpc::ClientContext context_;
  std::unique_ptr<v1::Consoles::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AttachConsoleRequest, v1::AttachConsoleResponse>> stream_;
};

}  // namespace

class Client::Impl {
 public:
  explicit Impl(std::string socket_path) : socket_path_(std::move(socket_path)) {}

  absl::Status Connect() {
    ASSIGN_OR_RETURN(UniqueFd fd, ConnectSocket(socket_path_));
    // A channel over a socket that is connected already: no resolver, no balancer, no second connect. It does not
    // reconnect by itself, which is why Call does.
    std::shared_ptr<grpc::Channel> channel = grpc::CreateInsecureChannelFromFd("umld", fd.release());
    absl::MutexLock lock(&mutex_);
    channel_ = std::move(channel);
    return absl::OkStatus();
  }

  // Replaces `broken` unless another thread was quicker.
  absl::Status Reconnect(const std::shared_ptr<grpc::Channel>& broken) {
    absl::MutexLock reconnecting(&reconnect_mutex_);
    if (channel() != broken) return absl::OkStatus();
    return Connect();
  }

  std::shared_ptr<grpc::Channel> channel() {
    absl::MutexLock lock(&mutex_);
    return channel_;
  }

  const std::string& socket_path() const { return socket_path_; }

  template <typename Service, typename Method, typename Request, typename Response>
  absl::Status Call(Method method, const Request& request, Response* response, Resend resend, absl::Duration timeout,
                    Warnings* warnings = nullptr) {
    absl::Time give_up = absl::InfiniteFuture();
    while (true) {
      const std::shared_ptr<grpc::Channel> used = channel();
      absl::Status status;
      {
        grpc::ClientContext context;
        SetDeadline(context, absl::Now() + timeout);
        const auto stub = Service::NewStub(used);
        response->Clear();
        status = Explain(FromRpc(((*stub).*method)(&context, request, response)), socket_path_);
        if (warnings != nullptr) *warnings = WarningsOf(context);
      }
      if (resend == Resend::kUnsafe || !IsDisconnected(status)) return status;
      give_up = std::min(give_up, absl::Now() + kRestartPatience);
      while (true) {
        absl::Status again = Reconnect(used);
        if (again.ok()) break;
        if (!IsDisconnected(again) || absl::Now() >= give_up) return again;
        absl::SleepFor(kRetryPause);
      }
      if (absl::Now() >= give_up) return status;
      // A socket that takes connections and drops them must not make us spin.
      absl::SleepFor(absl::Milliseconds(20));
    }
  }

 private:
  const std::string socket_path_;
  absl::Mutex reconnect_mutex_;
  absl::Mutex mutex_;
  std::shared_ptr<grpc::Channel> channel_;
};

namespace {

// The page loop of every List: `call` fills one page.
template <typename Request, typename Response, typename Items>
absl::StatusOr<Response> AllPages(Request request, size_t limit, Items items,
                                  absl::FunctionRef<absl::StatusOr<Response>(const Request&)> call) {
  Response all;
  do {
    ASSIGN_OR_RETURN(Response page, call(request));
    request.set_page_token(page.next_page_token());
    for (auto& item : *items(&page)) *items(&all)->Add() = std::move(item);
  } while (!request.page_token().empty() && static_cast<size_t>(items(&all)->size()) < limit);
  return all;
}

}  // namespace

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const std::string& socket_path) {
  QuietLibrary();
  auto impl = std::make_unique<Impl>(socket_path);
  RETURN_IF_ERROR(impl->Connect());
  return std::unique_ptr<Client>(new Client(std::move(impl)));
}

bool Client::IsDisconnected(const absl::Status& status) {
  const std::string reason = GetErrorDetail(status).reason;
  return status.code() == absl::StatusCode::kUnavailable && (reason.empty() || reason == kDaemonUnreachable);
}

absl::Status Client::Reconnect() { return impl_->Reconnect(impl_->channel()); }

// One line per method of the API: what it is called, how it may be sent again, how long it may take.
#define UMLCTL_CALL(service, method, request_type, response_type, resend, timeout)                          \
  absl::StatusOr<v1::response_type> Client::method(const v1::request_type& request) {                       \
    v1::response_type response;                                                                             \
    RETURN_IF_ERROR(                                                                                        \
        impl_->Call<v1::service>(&v1::service::Stub::method, request, &response, Resend::resend, timeout)); \
    return response;                                                                                        \
  }
// The same, with what umld tells beside the answer.
#define UMLCTL_CALL_WITH_WARNINGS(service, method, request_type, response_type, resend, timeout)                      \
  absl::StatusOr<v1::response_type> Client::method(const v1::request_type& request, Warnings* warnings) {             \
    v1::response_type response;                                                                                       \
    RETURN_IF_ERROR(                                                                                                  \
        impl_->Call<v1::service>(&v1::service::Stub::method, request, &response, Resend::resend, timeout, warnings)); \
    return response;                                                                                                  \
  }
UMLCTL_CALL_WITH_WARNINGS(Guests, CreateGuest, CreateGuestRequest, Guest, kSafe, kChangeTimeout)
UMLCTL_CALL_WITH_WARNINGS(Guests, StartGuest, StartGuestRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL_WITH_WARNINGS(Guests, PlugDevice, PlugDeviceRequest, Device, kSafe, kChangeTimeout)
#undef UMLCTL_CALL_WITH_WARNINGS
UMLCTL_CALL(Guests, UpdateGuest, UpdateGuestRequest, Guest, kSafe, kChangeTimeout)
UMLCTL_CALL(Guests, RenameGuest, RenameGuestRequest, Guest, kUnsafe, kChangeTimeout)
UMLCTL_CALL(Guests, StopGuest, StopGuestRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Guests, ResetGuest, ResetGuestRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Guests, RebootGuest, RebootGuestRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Guests, KillGuest, KillGuestRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Guests, PauseGuest, PauseGuestRequest, Guest, kUnsafe, kChangeTimeout)
UMLCTL_CALL(Guests, ResumeGuest, ResumeGuestRequest, Guest, kUnsafe, kChangeTimeout)
UMLCTL_CALL(Guests, ResizeDisk, ResizeDiskRequest, ResizeDiskResponse, kSafe, kChangeTimeout)
UMLCTL_CALL(Guests, QueryDevice, QueryDeviceRequest, Device, kSafe, kChangeTimeout)
UMLCTL_CALL(Guests, SendMconsole, SendMconsoleRequest, SendMconsoleResponse, kUnsafe, kChangeTimeout)
UMLCTL_CALL(Images, GetImage, GetImageRequest, Image, kSafe, kReadTimeout)
UMLCTL_CALL(Images, BuildImage, BuildImageRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Images, ImportImage, ImportImageRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Images, ExportImage, ExportImageRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Images, TagImage, TagImageRequest, Image, kSafe, kChangeTimeout)
UMLCTL_CALL(Images, VerifyImage, VerifyImageRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Operations, CancelOperation, CancelOperationRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Kernels, GetKernel, GetKernelRequest, Kernel, kSafe, kReadTimeout)
UMLCTL_CALL(Kernels, GetKernelConfig, GetKernelConfigRequest, KernelConfig, kSafe, kReadTimeout)
UMLCTL_CALL(Kernels, ImportKernel, ImportKernelRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Kernels, BuildKernel, BuildKernelRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Kernels, SetDefaultKernel, SetDefaultKernelRequest, Kernel, kSafe, kChangeTimeout)
UMLCTL_CALL(Pools, SetPool, SetPoolRequest, Pool, kSafe, kChangeTimeout)
UMLCTL_CALL(Pools, ListPools, ListPoolsRequest, ListPoolsResponse, kSafe, kReadTimeout)
UMLCTL_CALL(Volumes, CreateVolume, CreateVolumeRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Volumes, GetVolume, GetVolumeRequest, Volume, kSafe, kReadTimeout)
UMLCTL_CALL(Volumes, ResizeVolume, ResizeVolumeRequest, ResizeVolumeResponse, kSafe, kChangeTimeout)
UMLCTL_CALL(Volumes, ImportVolume, ImportVolumeRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Volumes, ExportVolume, ExportVolumeRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Snapshots, CreateSnapshot, CreateSnapshotRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Snapshots, CreateSnapshots, CreateSnapshotsRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Snapshots, GetSnapshot, GetSnapshotRequest, Snapshot, kSafe, kReadTimeout)
UMLCTL_CALL(Snapshots, RestoreSnapshot, RestoreSnapshotRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Clones, CloneGuest, CloneGuestRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Clones, GetCloneReport, GetCloneReportRequest, CloneReport, kSafe, kReadTimeout)
UMLCTL_CALL(Transfer, CommitDiskFile, CommitDiskFileRequest, Operation, kSafe, kChangeTimeout)
UMLCTL_CALL(Operations, GetOperation, GetOperationRequest, Operation, kSafe, kReadTimeout)
UMLCTL_CALL(Host, GetDiskFile, GetDiskFileRequest, DiskFile, kSafe, kReadTimeout)
UMLCTL_CALL(Host, RebaseDiskFile, RebaseDiskFileRequest, DiskFile, kSafe, kChangeTimeout)
UMLCTL_CALL(Host, CreateDiskFile, CreateDiskFileRequest, DiskFile, kUnsafe, kChangeTimeout)
#undef UMLCTL_CALL

absl::StatusOr<v1::Guest> Client::GetGuest(const std::string& name) {
  v1::GetGuestRequest request;
  request.set_name(name);
  v1::Guest guest;
  RETURN_IF_ERROR(impl_->Call<v1::Guests>(&v1::Guests::Stub::GetGuest, request, &guest, Resend::kSafe, kReadTimeout));
  return guest;
}

absl::StatusOr<v1::ListGuestsResponse> Client::ListGuests(v1::ListGuestsRequest request) {
  request.set_page_size(kPageSize);
  return AllPages<v1::ListGuestsRequest, v1::ListGuestsResponse>(
      request, SIZE_MAX, [](v1::ListGuestsResponse* page) { return page->mutable_guests(); },
      [this](const v1::ListGuestsRequest& next) -> absl::StatusOr<v1::ListGuestsResponse> {
        v1::ListGuestsResponse page;
        RETURN_IF_ERROR(
            impl_->Call<v1::Guests>(&v1::Guests::Stub::ListGuests, next, &page, Resend::kSafe, kReadTimeout));
        return page;
      });
}

absl::StatusOr<v1::ListGuestsResponse> Client::SummarizeGuests(const std::string& selector) {
  v1::ListGuestsRequest request;
  request.set_label_selector(selector);
  request.set_summary(true);
  return ListGuests(std::move(request));
}

absl::StatusOr<v1::ListGuestStatsResponse> Client::ListGuestStats(v1::ListGuestStatsRequest request) {
  request.set_page_size(kPageSize);
  return AllPages<v1::ListGuestStatsRequest, v1::ListGuestStatsResponse>(
      request, SIZE_MAX, [](v1::ListGuestStatsResponse* page) { return page->mutable_stats(); },
      [this](const v1::ListGuestStatsRequest& next) -> absl::StatusOr<v1::ListGuestStatsResponse> {
        v1::ListGuestStatsResponse page;
        RETURN_IF_ERROR(
            impl_->Call<v1::Guests>(&v1::Guests::Stub::ListGuestStats, next, &page, Resend::kSafe, kReadTimeout));
        return page;
      });
}

absl::Status Client::DeleteGuest(const v1::DeleteGuestRequest& request) {
  v1::DeleteGuestResponse response;
  return impl_->Call<v1::Guests>(&v1::Guests::Stub::DeleteGuest, request, &response, Resend::kUnsafe, kChangeTimeout);
}

absl::Status Client::UnplugDevice(const v1::UnplugDeviceRequest& request) {
  v1::UnplugDeviceResponse response;
  return impl_->Call<v1::Guests>(&v1::Guests::Stub::UnplugDevice, request, &response, Resend::kSafe, kChangeTimeout);
}

absl::StatusOr<v1::ListImagesResponse> Client::ListImages() {
  v1::ListImagesRequest first;
  first.set_page_size(kPageSize);
  return AllPages<v1::ListImagesRequest, v1::ListImagesResponse>(
      first, SIZE_MAX, [](v1::ListImagesResponse* page) { return page->mutable_images(); },
      [this](const v1::ListImagesRequest& request) -> absl::StatusOr<v1::ListImagesResponse> {
        v1::ListImagesResponse page;
        RETURN_IF_ERROR(
            impl_->Call<v1::Images>(&v1::Images::Stub::ListImages, request, &page, Resend::kSafe, kReadTimeout));
        return page;
      });
}

absl::StatusOr<v1::ListVolumesResponse> Client::ListVolumes() {
  v1::ListVolumesRequest first;
  first.set_page_size(kPageSize);
  v1::VolumeSpace space;
  absl::StatusOr<v1::ListVolumesResponse> all = AllPages<v1::ListVolumesRequest, v1::ListVolumesResponse>(
      first, SIZE_MAX, [](v1::ListVolumesResponse* page) { return page->mutable_volumes(); },
      [&](const v1::ListVolumesRequest& request) -> absl::StatusOr<v1::ListVolumesResponse> {
        v1::ListVolumesResponse page;
        RETURN_IF_ERROR(
            impl_->Call<v1::Volumes>(&v1::Volumes::Stub::ListVolumes, request, &page, Resend::kSafe, kReadTimeout));
        space = page.space();
        return page;
      });
  if (all.ok()) *all->mutable_space() = space;
  return all;
}

absl::Status Client::DeleteVolume(const v1::DeleteVolumeRequest& request) {
  v1::DeleteVolumeResponse response;
  return impl_->Call<v1::Volumes>(&v1::Volumes::Stub::DeleteVolume, request, &response, Resend::kUnsafe,
                                  kChangeTimeout);
}

absl::StatusOr<v1::PruneImagesResponse> Client::PruneImages() {
  v1::PruneImagesResponse response;
  RETURN_IF_ERROR(impl_->Call<v1::Images>(&v1::Images::Stub::PruneImages, v1::PruneImagesRequest(), &response,
                                          Resend::kUnsafe, kChangeTimeout));
  return response;
}

absl::Status Client::DeleteImage(const v1::DeleteImageRequest& request) {
  v1::DeleteImageResponse response;
  return impl_->Call<v1::Images>(&v1::Images::Stub::DeleteImage, request, &response, Resend::kUnsafe, kChangeTimeout);
}

absl::StatusOr<v1::ListKernelsResponse> Client::ListKernels() {
  v1::ListKernelsRequest first;
  first.set_page_size(kPageSize);
  return AllPages<v1::ListKernelsRequest, v1::ListKernelsResponse>(
      first, SIZE_MAX, [](v1::ListKernelsResponse* page) { return page->mutable_kernels(); },
      [this](const v1::ListKernelsRequest& request) -> absl::StatusOr<v1::ListKernelsResponse> {
        v1::ListKernelsResponse page;
        RETURN_IF_ERROR(
            impl_->Call<v1::Kernels>(&v1::Kernels::Stub::ListKernels, request, &page, Resend::kSafe, kReadTimeout));
        return page;
      });
}

absl::Status Client::DeleteKernel(const v1::DeleteKernelRequest& request) {
  v1::DeleteKernelResponse response;
  return impl_->Call<v1::Kernels>(&v1::Kernels::Stub::DeleteKernel, request, &response, Resend::kUnsafe,
                                  kChangeTimeout);
}

absl::StatusOr<v1::ListSnapshotsResponse> Client::ListSnapshots(const std::string& guest,
                                                                const std::string& operation) {
  v1::ListSnapshotsRequest first;
  first.set_guest(guest);
  first.set_operation(operation);
  first.set_page_size(kPageSize);
  return AllPages<v1::ListSnapshotsRequest, v1::ListSnapshotsResponse>(
      first, SIZE_MAX, [](v1::ListSnapshotsResponse* page) { return page->mutable_snapshots(); },
      [this](const v1::ListSnapshotsRequest& request) -> absl::StatusOr<v1::ListSnapshotsResponse> {
        v1::ListSnapshotsResponse page;
        RETURN_IF_ERROR(impl_->Call<v1::Snapshots>(&v1::Snapshots::Stub::ListSnapshots, request, &page, Resend::kSafe,
                                                   kReadTimeout));
        return page;
      });
}

absl::Status Client::DeleteSnapshot(const v1::DeleteSnapshotRequest& request) {
  v1::DeleteSnapshotResponse response;
  return impl_->Call<v1::Snapshots>(&v1::Snapshots::Stub::DeleteSnapshot, request, &response, Resend::kUnsafe,
                                    kChangeTimeout);
}

absl::StatusOr<v1::ListOperationsResponse> Client::ListOperations(bool unfinished_only, size_t limit) {
  v1::ListOperationsRequest first;
  first.set_page_size(static_cast<uint32_t>(std::min<size_t>(limit, kPageSize)));
  first.set_unfinished_only(unfinished_only);
  return AllPages<v1::ListOperationsRequest, v1::ListOperationsResponse>(
      first, limit, [](v1::ListOperationsResponse* page) { return page->mutable_operations(); },
      [this](const v1::ListOperationsRequest& request) -> absl::StatusOr<v1::ListOperationsResponse> {
        v1::ListOperationsResponse page;
        RETURN_IF_ERROR(impl_->Call<v1::Operations>(&v1::Operations::Stub::ListOperations, request, &page,
                                                    Resend::kSafe, kReadTimeout));
        return page;
      });
}

absl::StatusOr<v1::Operation> Client::WaitOperation(const v1::WaitOperationRequest& request) {
  const absl::Duration wait = absl::Seconds(request.timeout().seconds()) + absl::Nanoseconds(request.timeout().nanos());
  v1::Operation operation;
  RETURN_IF_ERROR(impl_->Call<v1::Operations>(&v1::Operations::Stub::WaitOperation, request, &operation, Resend::kSafe,
                                              wait + kWaitSlack));
  return operation;
}

absl::StatusOr<v1::HostInfo> Client::GetHost() {
  v1::HostInfo info;
  RETURN_IF_ERROR(
      impl_->Call<v1::Host>(&v1::Host::Stub::GetHost, v1::GetHostRequest(), &info, Resend::kSafe, kReadTimeout));
  return info;
}

namespace {

// Calls `take` with each message of a stream until it has enough, which is no error.
template <typename Response>
absl::Status ReadStream(grpc::ClientContext& context, grpc::ClientReader<Response>& reader,
                        const std::string& socket_path, absl::FunctionRef<bool(const Response&)> take) {
  Response response;
  bool enough = false;
  while (!enough && reader.Read(&response)) enough = !take(response);
  if (enough) context.TryCancel();
  const absl::Status status = Explain(FromRpc(reader.Finish()), socket_path);
  return enough ? absl::OkStatus() : status;
}

// Sends `message`, and then the same with data in place of what it begins with, until there is no more.
template <typename Request>
absl::Status WriteStream(grpc::ClientContext& context, grpc::ClientWriter<Request>& writer,
                         const std::string& socket_path, Request message,
                         absl::FunctionRef<absl::StatusOr<std::string>()> next) {
  while (writer.Write(message)) {
    message.Clear();
    absl::StatusOr<std::string> data = next();
    if (!data.ok()) {
      context.TryCancel();
      writer.Finish();
      return data.status();
    }
    if (data->empty()) break;
    message.set_data(*std::move(data));
  }
  writer.WritesDone();
  return Explain(FromRpc(writer.Finish()), socket_path);
}

}  // namespace

absl::Status Client::Watch(const v1::WatchRequest& request, absl::Time deadline,
                           absl::FunctionRef<bool(const v1::WatchResponse&)> take) {
  grpc::ClientContext context;
  SetDeadline(context, deadline);
  const auto stub = v1::Events::NewStub(impl_->channel());
  return ReadStream(context, *stub->Watch(&context, request), impl_->socket_path(), take);
}

absl::Status Client::ReadConsoleLog(const v1::ReadConsoleLogRequest& request,
                                    absl::FunctionRef<bool(const v1::ReadConsoleLogResponse&)> take) {
  grpc::ClientContext context;
  const auto stub = v1::Consoles::NewStub(impl_->channel());
  return ReadStream(context, *stub->ReadConsoleLog(&context, request), impl_->socket_path(), take);
}

absl::StatusOr<v1::Operation> Client::UploadImage(const v1::ImportImageRequest& request,
                                                  absl::FunctionRef<absl::StatusOr<std::string>()> next) {
  grpc::ClientContext context;
  const auto stub = v1::Images::NewStub(impl_->channel());
  v1::Operation operation;
  v1::UploadImageRequest message;
  *message.mutable_request() = request;
  RETURN_IF_ERROR(
      WriteStream(context, *stub->UploadImage(&context, &operation), impl_->socket_path(), std::move(message), next));
  return operation;
}

absl::Status Client::DownloadImage(const std::string& name,
                                   absl::FunctionRef<bool(const v1::DownloadImageResponse&)> take) {
  grpc::ClientContext context;
  const auto stub = v1::Images::NewStub(impl_->channel());
  v1::DownloadImageRequest request;
  request.set_name(name);
  return ReadStream(context, *stub->DownloadImage(&context, request), impl_->socket_path(), take);
}

absl::Status Client::DownloadVolume(const v1::DownloadVolumeRequest& request,
                                    absl::FunctionRef<bool(const v1::DownloadVolumeResponse&)> take) {
  grpc::ClientContext context;
  const auto stub = v1::Transfer::NewStub(impl_->channel());
  return ReadStream(context, *stub->DownloadVolume(&context, request), impl_->socket_path(), take);
}

absl::Status Client::ExportGuest(const v1::ExportGuestRequest& request,
                                 absl::FunctionRef<bool(const v1::ExportGuestResponse&)> take) {
  grpc::ClientContext context;
  const auto stub = v1::Transfer::NewStub(impl_->channel());
  return ReadStream(context, *stub->ExportGuest(&context, request), impl_->socket_path(), take);
}

absl::StatusOr<v1::ImportGuestResponse> Client::ImportGuest(const v1::ImportGuestRequest::Options& options,
                                                            absl::FunctionRef<absl::StatusOr<std::string>()> next) {
  grpc::ClientContext context;
  const auto stub = v1::Transfer::NewStub(impl_->channel());
  v1::ImportGuestResponse response;
  v1::ImportGuestRequest message;
  *message.mutable_options() = options;
  RETURN_IF_ERROR(
      WriteStream(context, *stub->ImportGuest(&context, &response), impl_->socket_path(), std::move(message), next));
  return response;
}

std::unique_ptr<ConsoleStream> Client::AttachConsole() {
  return std::make_unique<GrpcConsoleStream>(impl_->channel(), impl_->socket_path());
}

std::string NewRequestId() {
  char bytes[16];
  while (getrandom(bytes, sizeof(bytes), 0) != static_cast<ssize_t>(sizeof(bytes))) {
  }
  return absl::BytesToHexString(absl::string_view(bytes, sizeof(bytes)));
}

}  // namespace umld::umlctl
