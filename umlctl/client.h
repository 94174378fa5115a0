#ifndef UMLD_UMLCTL_CLIENT_H_
#define UMLD_UMLCTL_CLIENT_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "umld/v1/clones.pb.h"
#include "umld/v1/images.pb.h"
#include "umld/v1/kernels.pb.h"
#include "umld/v1/pools.pb.h"
#include "umld/v1/services.pb.h"
#include "umld/v1/snapshots.pb.h"
#include "umld/v1/transfer.pb.h"
#include "umld/v1/volumes.pb.h"

namespace umld::umlctl {

// An attached console: messages both ways.
// Thread: one may Write, another Read, any may Cancel; Finish when both are over.
class ConsoleStream {
 public:
  virtual ~ConsoleStream() = default;
  // Blocks while the daemon takes no more. False: the stream is over.
  virtual bool Write(const v1::AttachConsoleRequest& request) = 0;
  // No more Writes: asks the daemon to end the stream.
  virtual void WritesDone() = 0;
  // Blocks for the next message. False: the stream is over.
  virtual bool Read(v1::AttachConsoleResponse* response) = 0;
  // Makes blocked Reads and Writes return false.
  virtual void Cancel() = 0;
  // Why it ended.
  virtual absl::Status Finish() = 0;
};

// The daemon's API, one blocking function per call; the comments of umld/v1/*.proto say what each does. Every
// error carries the daemon's reason, subject and hint.
//
// The connection is made once, by a plain connect(). When it breaks later (umld restarts), calls that are safe to send
// twice (reads, and changes with a request_id) are sent again for up to 30 s; the others fail with kUnavailable.
//
// Thread: any, at the same time.
class Client {
 public:
  // `socket_path` is absolute. kUnavailable with reason kDaemonUnreachable: see ConnectSocket.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const std::string& socket_path);
  ~Client();

  // True when the connection broke: no answer, and thus no reason, from the daemon itself.
  static bool IsDisconnected(const absl::Status& status);
  // A new connection in place of the broken one; as Connect.
  absl::Status Reconnect();

  // Of the three with `warnings`: what umld tells the caller beside its answer is put there, a line each.
  using Warnings = std::vector<std::string>;
  absl::StatusOr<v1::Guest> CreateGuest(const v1::CreateGuestRequest& request, Warnings* warnings);
  absl::StatusOr<v1::Guest> GetGuest(const std::string& name);
  // All pages.
  absl::StatusOr<v1::ListGuestsResponse> ListGuests(v1::ListGuestsRequest request);
  // The same as summaries, of those that `selector` selects.
  absl::StatusOr<v1::ListGuestsResponse> SummarizeGuests(const std::string& selector = "");
  // All pages.
  absl::StatusOr<v1::ListGuestStatsResponse> ListGuestStats(v1::ListGuestStatsRequest request);
  absl::StatusOr<v1::Guest> UpdateGuest(const v1::UpdateGuestRequest& request);
  absl::StatusOr<v1::Guest> RenameGuest(const v1::RenameGuestRequest& request);
  absl::Status DeleteGuest(const v1::DeleteGuestRequest& request);
  absl::StatusOr<v1::Operation> StartGuest(const v1::StartGuestRequest& request, Warnings* warnings);
  absl::StatusOr<v1::Operation> StopGuest(const v1::StopGuestRequest& request);
  absl::StatusOr<v1::Operation> ResetGuest(const v1::ResetGuestRequest& request);
  absl::StatusOr<v1::Operation> RebootGuest(const v1::RebootGuestRequest& request);
  absl::StatusOr<v1::Operation> KillGuest(const v1::KillGuestRequest& request);
  absl::StatusOr<v1::Guest> PauseGuest(const v1::PauseGuestRequest& request);
  absl::StatusOr<v1::Guest> ResumeGuest(const v1::ResumeGuestRequest& request);

  absl::StatusOr<v1::Device> PlugDevice(const v1::PlugDeviceRequest& request, Warnings* warnings);
  absl::Status UnplugDevice(const v1::UnplugDeviceRequest& request);
  absl::StatusOr<v1::ResizeDiskResponse> ResizeDisk(const v1::ResizeDiskRequest& request);
  absl::StatusOr<v1::Device> QueryDevice(const v1::QueryDeviceRequest& request);
  absl::StatusOr<v1::SendMconsoleResponse> SendMconsole(const v1::SendMconsoleRequest& request);

  absl::StatusOr<v1::ListImagesResponse> ListImages();
  absl::StatusOr<v1::Image> GetImage(const v1::GetImageRequest& request);
  absl::StatusOr<v1::Operation> BuildImage(const v1::BuildImageRequest& request);
  absl::StatusOr<v1::Operation> ImportImage(const v1::ImportImageRequest& request);
  // Sends what `next` gives, on this thread, until that is empty; an error from it ends the call, which then has done
  // nothing. Not sent again when the connection breaks.
  absl::StatusOr<v1::Operation> UploadImage(const v1::ImportImageRequest& request,
                                            absl::FunctionRef<absl::StatusOr<std::string>()> next);
  absl::StatusOr<v1::Operation> ExportImage(const v1::ExportImageRequest& request);
  // As Watch, without a deadline.
  absl::Status DownloadImage(const std::string& name, absl::FunctionRef<bool(const v1::DownloadImageResponse&)> take);
  absl::StatusOr<v1::Image> TagImage(const v1::TagImageRequest& request);
  absl::Status DeleteImage(const v1::DeleteImageRequest& request);
  absl::StatusOr<v1::PruneImagesResponse> PruneImages();
  absl::StatusOr<v1::Operation> VerifyImage(const v1::VerifyImageRequest& request);

  absl::StatusOr<v1::ListKernelsResponse> ListKernels();
  absl::StatusOr<v1::Kernel> GetKernel(const v1::GetKernelRequest& request);
  absl::StatusOr<v1::KernelConfig> GetKernelConfig(const v1::GetKernelConfigRequest& request);
  absl::StatusOr<v1::Operation> ImportKernel(const v1::ImportKernelRequest& request);
  absl::StatusOr<v1::Operation> BuildKernel(const v1::BuildKernelRequest& request);
  absl::StatusOr<v1::Kernel> SetDefaultKernel(const v1::SetDefaultKernelRequest& request);
  absl::Status DeleteKernel(const v1::DeleteKernelRequest& request);

  absl::StatusOr<v1::Operation> CreateVolume(const v1::CreateVolumeRequest& request);
  absl::StatusOr<v1::Volume> GetVolume(const v1::GetVolumeRequest& request);
  // All pages.
  absl::StatusOr<v1::ListVolumesResponse> ListVolumes();
  absl::StatusOr<v1::Pool> SetPool(const v1::SetPoolRequest& request);
  absl::StatusOr<v1::ListPoolsResponse> ListPools(const v1::ListPoolsRequest& request);
  absl::Status DeleteVolume(const v1::DeleteVolumeRequest& request);
  absl::StatusOr<v1::ResizeVolumeResponse> ResizeVolume(const v1::ResizeVolumeRequest& request);
  absl::StatusOr<v1::Operation> ImportVolume(const v1::ImportVolumeRequest& request);
  absl::StatusOr<v1::Operation> ExportVolume(const v1::ExportVolumeRequest& request);
  absl::StatusOr<v1::Operation> CreateSnapshot(const v1::CreateSnapshotRequest& request);
  absl::StatusOr<v1::Operation> CreateSnapshots(const v1::CreateSnapshotsRequest& request);
  // All pages; of one guest, or ("") of all. Only those that the operation made, unless it is empty.
  absl::StatusOr<v1::ListSnapshotsResponse> ListSnapshots(const std::string& guest, const std::string& operation = "");
  absl::StatusOr<v1::Snapshot> GetSnapshot(const v1::GetSnapshotRequest& request);
  absl::StatusOr<v1::Operation> RestoreSnapshot(const v1::RestoreSnapshotRequest& request);
  absl::Status DeleteSnapshot(const v1::DeleteSnapshotRequest& request);

  absl::StatusOr<v1::Operation> CloneGuest(const v1::CloneGuestRequest& request);
  absl::StatusOr<v1::CloneReport> GetCloneReport(const v1::GetCloneReportRequest& request);
  // As Watch, without a deadline.
  absl::Status ExportGuest(const v1::ExportGuestRequest& request,
                           absl::FunctionRef<bool(const v1::ExportGuestResponse&)> take);
  absl::Status DownloadVolume(const v1::DownloadVolumeRequest& request,
                              absl::FunctionRef<bool(const v1::DownloadVolumeResponse&)> take);
  // As UploadImage.
  absl::StatusOr<v1::ImportGuestResponse> ImportGuest(const v1::ImportGuestRequest::Options& options,
                                                      absl::FunctionRef<absl::StatusOr<std::string>()> next);
  absl::StatusOr<v1::Operation> CommitDiskFile(const v1::CommitDiskFileRequest& request);

  absl::StatusOr<v1::Operation> GetOperation(const v1::GetOperationRequest& request);
  // At most `limit`, newest first.
  absl::StatusOr<v1::ListOperationsResponse> ListOperations(bool unfinished_only, size_t limit);
  absl::StatusOr<v1::Operation> CancelOperation(const v1::CancelOperationRequest& request);
  absl::StatusOr<v1::Operation> WaitOperation(const v1::WaitOperationRequest& request);

  absl::StatusOr<v1::HostInfo> GetHost();
  absl::StatusOr<v1::DiskFile> GetDiskFile(const v1::GetDiskFileRequest& request);
  absl::StatusOr<v1::DiskFile> RebaseDiskFile(const v1::RebaseDiskFileRequest& request);
  absl::StatusOr<v1::DiskFile> CreateDiskFile(const v1::CreateDiskFileRequest& request);

  // Calls `take` with each message, on this thread, until it returns false (OK), the daemon ends the stream (OK) or
  // something fails. kDeadlineExceeded at `deadline`. Not sent again when the connection breaks.
  absl::Status Watch(const v1::WatchRequest& request, absl::Time deadline,
                     absl::FunctionRef<bool(const v1::WatchResponse&)> take);
  absl::Status ReadConsoleLog(const v1::ReadConsoleLogRequest& request,
                              absl::FunctionRef<bool(const v1::ReadConsoleLogResponse&)> take);
  std::unique_ptr<ConsoleStream> AttachConsole();

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A request_id: 128 random bits in hexadecimal.
std::string NewRequestId();

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_CLIENT_H_
