#include "umld/attached_console.h"

#include <sys/epoll.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/packet_socket.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "umld/admin_only.h"
#include "umld/console_service.h"
#include "umld/grpc_status.h"
#include "umld/vmcore_client.h"
#include "umld/vmcore_wire.h"

namespace umld {
namespace {

constexpr size_t kMaxQueuedBytes = 256 * 1024;
// A message costs gRPC, us and the client more than its bytes: what waits goes together, up to so many bytes.
constexpr size_t kMaxMessageBytes = 64 * 1024;
constexpr size_t kMaxInputBytes = 32 * 1024;
constexpr int kFairPackets = 64;  // then it is others' turn on the loop

// Everything of the vmcore side happens on the loop's thread; gRPC's callbacks only hand over. `self_` keeps the
// object until gRPC is done, the loop's watch until the connection is.
class AttachedConsole : public AttachReactor, public std::enable_shared_from_this<AttachedConsole> {
 public:
  AttachedConsole(const DaemonConfig* config, GuestTable* table, EventLoop* loop, WorkerPool* pool,
                  absl::StatusOr<Caller> caller)
      : config_(config), table_(table), loop_(loop), pool_(pool), caller_(std::move(caller)) {}

  void Begin() {
    self_ = shared_from_this();
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return OnLoop([](AttachedConsole& self) { self.End(absl::OkStatus()); });  // half-closed: detach
    if (!opened_) {
      opened_ = true;
      pool_->Submit([self = shared_from_this()] { self->Open(); });
      return;
    }
    OnLoop([](AttachedConsole& self) { self.ForwardInput(); });
  }
  void OnWriteDone(bool ok) override {
    OnLoop([ok](AttachedConsole& self) {
      self.writing_ = false;
      if (!ok) return self.End(absl::CancelledError("the client is gone"));
      self.WriteNext();
    });
  }
  void OnCancel() override {
    OnLoop([](AttachedConsole& self) { self.End(absl::CancelledError("the client is gone")); });
  }
  void OnDone() override {
    // The last reference goes on the loop, after everything that was posted there.
    loop_->Post([last = std::move(self_)] { last->Unwatch(); });
  }

 private:
  void OnLoop(std::function<void(AttachedConsole&)> step) {
    loop_->Post([self = shared_from_this(), step = std::move(step)] { step(*self); });
  }

  // Not into socket_, which is the loop's: there it is closed when the client goes away meanwhile.
  absl::StatusOr<vmcore::v1::Reply> Connect(UniqueFd* socket) {
    if (!request_.has_open()) {
      return MakeError(absl::StatusCode::kInvalidArgument, "the first message of AttachConsole is not `open`",
                       {"NOT_OPENED", "", "say which console first"});
    }
    const v1::AttachConsoleRequest::Open& open = request_.open();
    ASSIGN_OR_RETURN(ConsoleName name, ParseConsoleName(open.console()));
    ASSIGN_OR_RETURN(GuestPtr guest, table_->Find(name.guest));
    const GuestView view = table_->View(guest);
    if (!view.alive) {
      return MakeError(absl::StatusCode::kFailedPrecondition, absl::StrCat("guest ", view.row.name, " is not running"),
                       {"NOT_RUNNING", view.name(),
                        absl::StrCat("`umlctl start ", view.row.name, "`; what it said before is in `umlctl logs ",
                                     view.row.name, " ", name.console, "`")});
    }
    // Who is root in it has what umld has; what it says is in its log too.
    const bool looks_alone = open.read_only() && !open.include_input();
    if (!looks_alone) {
      RETURN_IF_ERROR(caller_.status());
      RETURN_IF_ERROR(
          CheckUnconfined(view, "the console of a guest that is not confined, but to look at it", *caller_));
    }
    ASSIGN_OR_RETURN(*socket, ConnectPackets(config_->GuestRunDir(view.row.id) + "/vmcore.sock"));
    vmcore::v1::Request hello, attach;
    hello.mutable_hello()->set_version(1);
    RETURN_IF_ERROR(CallOnce(socket->get(), hello, absl::Seconds(5)).status());
    vmcore::v1::AttachConsole* request = attach.mutable_attach_console();
    request->set_console(name.console);
    request->set_history_bytes(open.history_bytes());
    request->set_read_only(open.read_only());
    request->set_take_over(open.take_over());
    request->set_rows(open.size().rows());
    request->set_columns(open.size().columns());
    request->set_include_input(open.include_input());
    return CallOnce(socket->get(), attach, absl::Seconds(5));
  }

  void Open() {
    auto socket = std::make_shared<UniqueFd>();
    absl::StatusOr<vmcore::v1::Reply> reply = Connect(socket.get());
    OnLoop([reply, socket](AttachedConsole& self) {
      if (!reply.ok()) return self.End(reply.status());
      if (self.ended_) return;
      self.socket_ = std::move(*socket);
      v1::AttachConsoleResponse first;
      first.set_writer(reply->attach_console().writer());
      self.Queue(std::move(first));
      self.SetEvents();
      self.StartRead(&self.request_);
    });
  }

  void ReadOutput() {
    for (int i = 0; i < kFairPackets && !ended_ && queued_bytes_ < kMaxQueuedBytes; ++i) {
      absl::StatusOr<std::string> packet = ReceivePacket(socket_.get());
      if (absl::IsNotFound(packet.status())) break;
      const absl::StatusOr<vmcore::v1::Frame> frame = packet.ok() ? DecodeVmcoreFrame(*packet) : packet.status();
      if (!frame.ok()) return End(absl::OkStatus());  // the guest has ended
      if (!frame->has_console()) continue;
      const vmcore::v1::ConsoleData& console = frame->console();
      v1::AttachConsoleResponse response;
      response.set_output(console.data());
      response.set_lost_bytes(console.lost_bytes());
      response.set_notice(console.notice());
      response.set_writer(console.writer());
      response.set_input(console.input());
      const bool eof = console.eof();
      Queue(std::move(response));
      if (eof) return End(absl::OkStatus());
    }
    SetEvents();
  }

  static size_t SizeOf(const v1::AttachConsoleResponse& response) {
    return response.output().size() + response.input().size() + 64;
  }

  static bool IsOutputAlone(const v1::AttachConsoleResponse& response) {
    return !response.output().empty() && response.lost_bytes() == 0 && response.notice().empty() &&
           response.input().empty() && !response.writer();
  }

  void Queue(v1::AttachConsoleResponse response) {
    if (!queue_.empty() && IsOutputAlone(queue_.back()) && IsOutputAlone(response) &&
        queue_.back().output().size() + response.output().size() <= kMaxMessageBytes) {
      queue_.back().mutable_output()->append(response.output());
      queued_bytes_ += response.output().size();
      return;
    }
    queued_bytes_ += SizeOf(response);
    queue_.push_back(std::move(response));
    WriteNext();
  }

  void WriteNext() {
    if (writing_ || finished_) return;
    if (queue_.empty()) {
      if (ended_) FinishOnce();
      return;
    }
    const bool was_full = queued_bytes_ >= kMaxQueuedBytes;
    current_ = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= SizeOf(current_);
    writing_ = true;
    StartWrite(&current_);
    if (was_full) SetEvents();
  }

  // Sends what the client's last message said; the next one is read when it has gone.
  void ForwardInput() {
    if (ended_) return;
    vmcore::v1::Frame frame;
    vmcore::v1::ConsoleData* data = frame.mutable_console();
    if (request_.has_size()) {
      data->set_rows(request_.size().rows());
      data->set_columns(request_.size().columns());
    } else {
      data->set_data(request_.input().substr(input_sent_, kMaxInputBytes));
    }
    absl::Status sent = SendPacket(socket_.get(), frame.SerializeAsString());
    blocked_ = absl::IsResourceExhausted(sent);
    if (!sent.ok() && !blocked_) return;  // gone: reading says so next
    if (!blocked_ && !request_.has_size()) input_sent_ += data->data().size();
    if (!blocked_ && (request_.has_size() || input_sent_ >= request_.input().size())) {
      input_sent_ = 0;
      SetEvents();
      return StartRead(&request_);
    }
    blocked_ = true;  // more of the same message: when the socket takes it
    SetEvents();
  }

  void SetEvents() {
    if (!socket_.ok()) return;
    const bool room = queued_bytes_ < kMaxQueuedBytes;
    // That the guest has ended is told without end, whatever is asked for; it is heard when what came before it is out.
    if (hung_up_ && !room) {
      if (std::exchange(watching_, false)) loop_->Unwatch(socket_.get());
      return;
    }
    const uint32_t events = (room ? EPOLLIN : 0u) | (blocked_ ? EPOLLOUT : 0u);
    if (std::exchange(watching_, true)) return loop_->SetEvents(socket_.get(), events);
    loop_->Watch(socket_.get(), events, [self = shared_from_this()](uint32_t happened) {
      self->hung_up_ = self->hung_up_ || (happened & (EPOLLHUP | EPOLLERR)) != 0;
      if ((happened & EPOLLOUT) != 0) self->ForwardInput();
      if ((happened & ~static_cast<uint32_t>(EPOLLOUT)) != 0) self->ReadOutput();
    });
  }

  void Unwatch() {
    if (std::exchange(watching_, false)) loop_->Unwatch(socket_.get());
    socket_.reset();
  }

  // No more of the console; what is queued still goes out.
  void End(const absl::Status& status) {
    if (std::exchange(ended_, true)) return;
    status_ = status;
    Unwatch();
    if (absl::IsCancelled(status)) queue_.clear();
    if (!writing_ && queue_.empty()) FinishOnce();
  }

  void FinishOnce() {
    if (std::exchange(finished_, true)) return;
    Finish(ToGrpc(status_));
  }

  const DaemonConfig* const config_;
  GuestTable* const table_;
  EventLoop* const loop_;
  WorkerPool* const pool_;
  const absl::StatusOr<Caller> caller_;
  std::shared_ptr<AttachedConsole> self_;
  v1::AttachConsoleRequest request_;  // the read under way, or what is being handled
  bool opened_ = false;               // gRPC's thread alone (one read at a time)

  // The loop's thread alone.
  UniqueFd socket_;
  bool watching_ = false, hung_up_ = false, blocked_ = false, writing_ = false, ended_ = false, finished_ = false;
  size_t input_sent_ = 0, queued_bytes_ = 0;
  std::deque<v1::AttachConsoleResponse> queue_;
  v1::AttachConsoleResponse current_;
  absl::Status status_;
};

}  // namespace

AttachReactor* NewAttachedConsole(const DaemonConfig* config, GuestTable* table, EventLoop* loop, WorkerPool* pool,
                                  absl::StatusOr<Caller> caller) {
  auto console = std::make_shared<AttachedConsole>(config, table, loop, pool, std::move(caller));
  console->Begin();
  return console.get();
}

}  // namespace umld
