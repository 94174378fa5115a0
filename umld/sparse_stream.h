#ifndef UMLD_UMLD_SPARSE_STREAM_H_
#define UMLD_UMLD_SPARSE_STREAM_H_

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "umld/grpc_status.h"
#include "umld/worker_pool.h"

namespace umld {

// A file that somebody reads from afar.
struct SparseSource {
  UniqueFd fd;
  std::shared_ptr<const void> hold = nullptr;  // keeps it as it is
};

// Sends a file's content, front to back and without its holes, as messages with `size_bytes`, `offset` and `data`; the
// first says the size alone. One piece at a time, so that a slow reader costs no memory. A file that was written to
// meanwhile ends the call with kAborted.
template <typename Response>
class SparseStream final : public grpc::ServerWriteReactor<Response> {
 public:
  SparseStream(WorkerPool* pool, const std::function<absl::StatusOr<SparseSource>()>& open) : pool_(pool) {
    pool_->Submit([this, open] {
      absl::StatusOr<SparseSource> source = open();
      if (!source.ok()) return this->Finish(ToGrpc(source.status()));
      source_ = *std::move(source);
      fstat(source_.fd.get(), &begin_);
      size_ = static_cast<uint64_t>(begin_.st_size);
      message_.set_size_bytes(size_);
      this->StartWrite(&message_);
    });
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return this->Finish(grpc::Status::CANCELLED);
    pool_->Submit([this] { Next(); });
  }
  void OnDone() override { delete this; }

 private:
  static constexpr uint64_t kPiece = 1 << 20;

  void Next() {
    const int fd = source_.fd.get();
    if (at_ >= data_end_) {
      const off_t begin = lseek(fd, static_cast<off_t>(at_), SEEK_DATA);
      if (begin < 0 && errno == ENXIO) return End();
      if (begin >= 0) at_ = static_cast<uint64_t>(begin);
      const off_t end = lseek(fd, static_cast<off_t>(at_), SEEK_HOLE);
      data_end_ = end < 0 ? size_ : static_cast<uint64_t>(end);
    }
    std::string data(std::min(kPiece, data_end_ - at_), '\0');
    const ssize_t got = pread(fd, data.data(), data.size(), static_cast<off_t>(at_));
    if (got < 0) return this->Finish(ToGrpc(ErrnoError(errno, "read it")));
    if (got == 0) return End();
    data.resize(static_cast<size_t>(got));
    message_.set_offset(at_);
    message_.set_data(std::move(data));
    at_ += static_cast<uint64_t>(got);
    this->StartWrite(&message_);
  }

  void End() {
    struct stat now = {};
    fstat(source_.fd.get(), &now);
    const bool same = now.st_mtim.tv_sec == begin_.st_mtim.tv_sec && now.st_mtim.tv_nsec == begin_.st_mtim.tv_nsec;
    if (same) return this->Finish(grpc::Status::OK);
    this->Finish(ToGrpc(MakeError(absl::StatusCode::kAborted, "it was written to while it was read",
                                  {"SOURCE_CHANGED", "", "stop what writes to it, and ask again"})));
  }

  WorkerPool* const pool_;
  SparseSource source_;
  struct stat begin_ = {};
  uint64_t size_ = 0, at_ = 0, data_end_ = 0;
  Response message_;
};

}  // namespace umld

#endif  // UMLD_UMLD_SPARSE_STREAM_H_
