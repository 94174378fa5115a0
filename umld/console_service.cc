#include "umld/console_service.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "devices/console/console_spec.h"
#include "umld/attached_console.h"
#include "umld/console_wish.h"
#include "umld/grpc_status.h"
#include "umld/log_reader.h"

namespace umld {
namespace {

// One reader of a log. Files are read on the pool; with `follow`, inotify on the log's folder says when there is more.
class LogStream : public grpc::ServerWriteReactor<v1::ReadConsoleLogResponse>,
                  public std::enable_shared_from_this<LogStream> {
 public:
  LogStream(EventLoop* loop, WorkerPool* pool, std::string path, const v1::ReadConsoleLogRequest& request)
      : loop_(loop),
        pool_(pool),
        path_(std::move(path)),
        reader_(path_),
        follow_(request.follow()),
        tail_lines_(request.tail_lines()),
        after_(request.after()) {}

  void Begin() {
    self_ = shared_from_this();
    pool_->Submit([self = shared_from_this()] {
      absl::Status status = self->follow_ ? self->Subscribe() : absl::OkStatus();
      if (status.ok()) {
        status = self->after_.empty() ? self->reader_.Start(self->tail_lines_) : self->reader_.StartAfter(self->after_);
      }
      if (!status.ok()) return self->End(ToGrpc(status));
      self->ReadMore();
    });
  }
  void Refuse(const absl::Status& status) {
    self_ = shared_from_this();
    End(ToGrpc(status));
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(grpc::Status::CANCELLED);
    pool_->Submit([self = shared_from_this()] { self->ReadMore(); });
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override {
    loop_->Post([last = std::move(self_)] {
      if (last->watching_) last->loop_->Unwatch(last->inotify_.get());
      last->watching_ = false;
      last->done_ = true;
    });
  }

 private:
  absl::Status Subscribe() {
    const std::string folder = path_.substr(0, path_.rfind('/'));
    RETURN_IF_ERROR(MakeFolders(folder, 0700));  // a guest that has never run: its log may come yet
    inotify_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!inotify_.ok() || inotify_add_watch(inotify_.get(), folder.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
      return ErrnoError(errno, absl::StrCat("watch ", folder));
    }
    loop_->Post([self = shared_from_this()] {
      if (self->done_) return;  // the client went away meanwhile
      self->watching_ = true;
      self->loop_->Watch(self->inotify_.get(), EPOLLIN, [self](uint32_t) { self->OnChange(); });
    });
    return absl::OkStatus();
  }

  void OnChange() {
    char events[4096];
    while (read(inotify_.get(), events, sizeof(events)) > 0) {
    }
    {
      absl::MutexLock lock(&mutex_);
      changed_ = true;
      if (!asleep_) return;
      asleep_ = false;
    }
    pool_->Submit([self = shared_from_this()] { self->ReadMore(); });
  }

  // Runs while nothing is being written and the stream is not asleep: one at a time.
  void ReadMore() {
    while (true) {
      {
        absl::MutexLock lock(&mutex_);
        if (ended_) return;
        changed_ = false;
      }
      absl::StatusOr<LogReader::Part> part = reader_.Next();
      if (!part.ok()) return End(ToGrpc(part.status()));
      if (!part->data.empty()) {
        response_.set_data(std::move(part->data));
        response_.set_position(std::move(part->position));
        response_.set_gap(part->gap);
        absl::MutexLock lock(&mutex_);
        if (!ended_) StartWrite(&response_);
        return;
      }
      if (!follow_) return End(grpc::Status::OK);
      absl::MutexLock lock(&mutex_);
      if (changed_) continue;
      asleep_ = true;
      return;
    }
  }

  void End(const grpc::Status& status) {
    {
      absl::MutexLock lock(&mutex_);
      if (std::exchange(ended_, true)) return;
    }
    Finish(status);
  }

  EventLoop* const loop_;
  WorkerPool* const pool_;
  const std::string path_;
  LogReader reader_;
  const bool follow_;
  const uint32_t tail_lines_;
  const std::string after_;
  std::shared_ptr<LogStream> self_;
  UniqueFd inotify_;
  bool watching_ = false, done_ = false;  // the loop's thread alone
  v1::ReadConsoleLogResponse response_;
  absl::Mutex mutex_;
  bool changed_ ABSL_GUARDED_BY(mutex_) = false, asleep_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::StatusOr<ConsoleName> ParseConsoleName(const std::string& name) {
  std::vector<std::string> parts = absl::StrSplit(name, '/');
  if (parts.size() != 4 || parts[0] != "guests" || parts[2] != "consoles") {
    return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("\"", name, "\" is not the name of a console"),
                     {"INVALID_NAME", name, "write guests/NAME/consoles/con1"});
  }
  if (!devices::ParseConsoleName(parts[3]).ok()) {
    return MakeError(absl::StatusCode::kNotFound, absl::StrCat("there is no console \"", parts[3], "\""),
                     {"CONSOLE_NOT_FOUND", name,
                      "a guest has con0 (the kernel's messages), con1 (the login), con2 to con15 and ssl0 to ssl63"});
  }
  return ConsoleName{parts[1], parts[3]};
}

grpc::ServerBidiReactor<v1::AttachConsoleRequest, v1::AttachConsoleResponse>* ConsoleService::AttachConsole(
    grpc::CallbackServerContext* context) {
  return NewAttachedConsole(config_, table_, loop_, pool_, CallerOf(*context));
}

grpc::ServerWriteReactor<v1::ReadConsoleLogResponse>* ConsoleService::ReadConsoleLog(
    grpc::CallbackServerContext*, const v1::ReadConsoleLogRequest* request) {
  absl::StatusOr<ConsoleName> name = ParseConsoleName(request->console());
  absl::StatusOr<GuestPtr> guest = name.ok() ? table_->Find(name->guest) : name.status();
  std::string path;
  if (guest.ok()) {
    const state::GuestRow row = table_->View(*guest).row;
    path = config_->ConsoleLog(row.id, name->console);
    const std::string wanted = WantedConsole(row, *devices::ParseConsoleName(name->console));
    if ((wanted == "null" || wanted == "none") && access(path.c_str(), F_OK) != 0) {
      guest = MakeError(absl::StatusCode::kNotFound,
                        absl::StrCat("guest ", row.name, " has no console ", name->console, ", and never had one"),
                        {"CONSOLE_NOT_FOUND", request->console(),
                         absl::StrCat("`umlctl describe ", row.name, "` shows its consoles")});
    }
  }
  auto stream = std::make_shared<LogStream>(loop_, pool_, std::move(path), *request);
  if (guest.ok()) {
    stream->Begin();
  } else {
    stream->Refuse(guest.status());
  }
  return stream.get();
}

}  // namespace umld
