#include "vmcore/console.h"

#include <sys/epoll.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "vmcore/log.h"

namespace umld::vmcore {
namespace {

constexpr uint16_t kRows = 24, kColumns = 80;
constexpr uint32_t kMinHistory = 16 * 1024;  // enough for a panic and what led to it
constexpr uint64_t kDefaultRotate = uint64_t{8} << 20;
constexpr size_t kMayHaveBeenFull = 4096;
constexpr size_t kFrameBytes = 32 * 1024;
// A frame costs everybody on the way to a viewer more than its bytes: of a guest that goes on printing, what comes this
// soon after the last frame goes together, up to so many bytes.
constexpr std::chrono::milliseconds kTogether(4);
constexpr size_t kTogetherBytes = 16 * 1024;
// Read from one console before others get their turn.
constexpr size_t kFairBytes = 64 * 1024;

}  // namespace

std::unique_ptr<Console> Console::Create(EventLoop* loop, const Options& options) {
  std::unique_ptr<Console> console(new Console(loop, options));
  console->MoveLog(options.log_path, options.log_rotate_bytes);
  return console;
}

void Console::MoveLog(const std::string& path, uint64_t rotate_bytes) {
  log_.reset();
  auto log = devices::ConsoleLog::Open(path, rotate_bytes == 0 ? kDefaultRotate : rotate_bytes, log_allowance_);
  if (log.ok()) {
    log_ = *std::move(log);
    log_->Append(Tail(0, history_.end_offset()));
  } else {
    Log(absl::StrCat("no log of ", name_, ": ", log.status().message()));
  }
}

Console::Console(EventLoop* loop, const Options& options)
    : loop_(loop),
      name_(options.name),
      history_(std::max(options.history_bytes, kMinHistory)),
      log_allowance_(options.log_allowance) {}

Console::~Console() {
  if (pty_ != nullptr) loop_->Unwatch(pty_->master());
  loop_->Cancel(pump_timer_);
  loop_->Cancel(send_timer_);
}

void Console::Begin(std::unique_ptr<devices::ConsolePty> pty) {
  pty_ = std::move(pty);
  SetDirections(true, true);
  loop_->Watch(pty_->master(), EPOLLIN, [this](uint32_t) { Drain(); });
}

std::unique_ptr<devices::ConsolePty> Console::End() {
  Drain();
  DropInput();
  AnnounceEnd();
  writer_ = 0;
  loop_->Unwatch(pty_->master());
  return std::move(pty_);
}

void Console::SetDirections(bool input, bool output) {
  input_ = input;
  output_wanted_ = output;
  if (!input) DropInput();
}

std::string Console::Tail(uint64_t from, size_t max) const {
  uint64_t end = history_.end_offset();
  uint64_t offset = std::max(from, end > max ? end - max : 0);
  std::string tail;
  while (offset < end) {
    devices::ConsoleHistory::Chunk chunk = history_.Read(offset, max);
    if (chunk.bytes.empty()) break;
    tail.append(chunk.bytes.data(), chunk.bytes.size());
    offset = chunk.offset + chunk.bytes.size();
  }
  return tail;
}

void Console::Drain() {
  if (pty_ == nullptr) return;
  char buffer[kFairBytes];
  size_t taken = 0;
  // A pty gives some KiB at a time.
  while (taken < sizeof(buffer)) {
    absl::StatusOr<size_t> got = pty_->ReadOutput(buffer + taken, sizeof(buffer) - taken);
    if (!got.ok()) {
      // The slave is open here too, so this cannot happen; should it, do not spin.
      Log(absl::StrCat(name_, ": ", got.status().message()));
      loop_->Unwatch(pty_->master());
      break;
    }
    if (*got == 0) break;
    taken += *got;
  }
  if (taken == 0) return;
  if (output_wanted_) {
    history_.Append(absl::string_view(buffer, taken));
    if (log_ != nullptr) log_->Append(absl::string_view(buffer, taken));
  }
  unsent_ += taken;
  SendSoon();
  if (output_) output_();
  if (pump_timer_ == 0 && pty_->has_input()) Pump();
  // A full pty tells its writer by one SIGIO that there is room, but too early, when there is none yet: the kernel
  // looks, finds nothing, and its console stands still until any other signal comes. A pty takes 12 KiB, in writes of 4
  // KiB.
  if (taken >= kMayHaveBeenFull && deaf_) deaf_();
}

void Console::SendSoon() {
  const auto wait = sent_ + kTogether - EventLoop::Clock::now();
  if (unsent_ < kTogetherBytes && wait > EventLoop::Clock::duration::zero() && !viewers_.empty()) {
    if (send_timer_ == 0) {
      send_timer_ = loop_->RunAfter(wait, [this] {
        send_timer_ = 0;
        SendSoon();
      });
    }
    return;
  }
  loop_->Cancel(std::exchange(send_timer_, 0));
  sent_ = EventLoop::Clock::now();
  unsent_ = 0;
  for (auto& [id, viewer] : viewers_) SendTo(id, &viewer);
}

void Console::DropInput() {
  if (pty_ != nullptr) pty_->DropInput();
  loop_->Cancel(std::exchange(pump_timer_, 0));
}

void Console::AnnounceEnd() {
  for (auto& [id, viewer] : viewers_) {
    viewer.eof = true;
    SendTo(id, &viewer);
  }
}

Console::Attachment Console::Attach(const v1::AttachConsole& request, ViewerLink* link) {
  ViewerId id = next_viewer_++;
  Viewer viewer;
  viewer.link = link;
  viewer.read_only = request.read_only();
  viewer.rows = request.rows();
  viewer.columns = request.columns();
  viewer.shows_input = request.include_input();
  uint64_t end = history_.end_offset();
  uint64_t wanted = end > request.history_bytes() ? end - request.history_bytes() : 0;
  viewer.offset = std::max(wanted, history_.begin_offset());
  viewers_[id] = viewer;
  if (!request.read_only() && (writer_ == 0 || request.take_over())) MakeWriter(id);
  return {id, viewer.offset, writer_ == id};
}

Console::ViewerId Console::AttachTerminal(ViewerLink* link) {
  ViewerId id = next_viewer_++;
  Viewer viewer;
  viewer.link = link;
  viewer.read_only = true;
  viewer.terminal = true;
  viewer.offset = history_.end_offset();
  viewers_[id] = viewer;
  return id;
}

void Console::ReceiveFromTerminal(absl::string_view bytes) {
  // A guest that does not read: the terminal has nobody to tell.
  if (input_) Enqueue(bytes);
}

void Console::Detach(ViewerId viewer) {
  viewers_.erase(viewer);
  if (writer_ == viewer) writer_ = 0;
}

void Console::Receive(ViewerId id, const v1::ConsoleData& data) {
  auto found = viewers_.find(id);
  if (found == viewers_.end()) return;
  Viewer& viewer = found->second;
  if (data.rows() != 0 && data.columns() != 0) {
    viewer.rows = data.rows();
    viewer.columns = data.columns();
    if (writer_ == id) ApplySize(viewer);
  }
  if (!data.data().empty()) Type(id, &viewer, data.data());
}

void Console::Type(ViewerId id, Viewer* viewer, absl::string_view bytes) {
  if (viewer->read_only) return;
  if (writer_ == 0) MakeWriter(id);
  if (writer_ != id) {
    if (viewer->told_of_writer) return;
    viewer->told_of_writer = true;
    return Notify(id, "input is held by another viewer");
  }
  if (!input_) {
    if (viewer->told_of_writer) return;
    viewer->told_of_writer = true;
    return Notify(id, "this console takes no input");
  }
  if (!Enqueue(bytes)) {
    Notify(id, absl::StrCat("the guest does not read its input: ", bytes.size(), " bytes were dropped"));
  }
}

// False: the guest does not read, and nothing was taken.
bool Console::Enqueue(absl::string_view bytes) {
  if (pty_ == nullptr) return true;  // the console has ended, and everybody has been told
  if (!pty_->Enqueue(bytes).ok()) return false;
  for (auto& [id, viewer] : viewers_) {
    if (!viewer.shows_input || viewer.input.size() + bytes.size() > kFrameBytes) continue;
    viewer.input.append(bytes.data(), bytes.size());
    SendTo(id, &viewer);
  }
  if (pump_timer_ == 0) Pump();
  return true;
}

void Console::Pump() {
  pump_timer_ = 0;
  if (pty_ == nullptr) return;
  auto again = pty_->PumpInput(EventLoop::Clock::now(), at_rest_);
  // What was typed before the guest opened its console lies there without a signal: none comes for what was there
  // already, and it would wait for the next one for ever.
  if (pty_->input_stalled() && deaf_) deaf_();
  if (again.has_value()) pump_timer_ = loop_->RunAfter(*again, [this] { Pump(); });
}

void Console::MakeWriter(ViewerId id) {
  ViewerId before = std::exchange(writer_, id);
  if (viewers_.count(before) != 0) Notify(before, "input has been taken over by another viewer");
  Viewer& viewer = viewers_[id];
  viewer.told_of_writer = false;
  if (viewer.started) Notify(id, "input is yours now");
  ApplySize(viewer);
}

void Console::ApplySize(const Viewer& viewer) {
  if (viewer.rows == 0 || viewer.columns == 0 || pty_ == nullptr) return;
  auto clamp = [](uint32_t value) { return static_cast<uint16_t>(std::min<uint32_t>(value, 4096)); };
  absl::Status status = pty_->SetWindowSize(clamp(viewer.rows), clamp(viewer.columns));
  if (!status.ok()) Log(absl::StrCat(name_, ": ", status.message()));
}

void Console::Notify(ViewerId id, absl::string_view notice) {
  Viewer& viewer = viewers_[id];
  viewer.notice = std::string(notice);
  SendTo(id, &viewer);
}

void Console::Writable(ViewerId id) {
  auto found = viewers_.find(id);
  if (found == viewers_.end()) return;
  found->second.started = true;
  found->second.blocked = false;
  SendTo(id, &found->second);
}

// All that is due to a viewer, until it is sent or its link is full.
void Console::SendTo(ViewerId id, Viewer* viewer) {
  while (viewer->started && !viewer->blocked && !viewer->eof_sent) {
    v1::ConsoleData frame;
    uint64_t next = viewer->offset;
    std::string* data = frame.mutable_data();
    while (data->size() < kFrameBytes) {
      devices::ConsoleHistory::Chunk chunk = history_.Read(next, kFrameBytes - data->size());
      if (chunk.lost != 0 && !data->empty()) break;
      if (chunk.lost != 0) frame.set_lost_bytes(chunk.lost);
      if (chunk.bytes.empty()) break;
      data->append(chunk.bytes.data(), chunk.bytes.size());
      next = chunk.offset + chunk.bytes.size();
    }
    const bool last = next >= history_.end_offset();
    // What was typed comes behind the output that was there before it.
    if (last) frame.set_input(viewer->input);
    if (!viewer->notice.empty()) {
      frame.set_notice(viewer->notice);
      frame.set_writer(writer_ == id);
    }
    if (viewer->eof && last) frame.set_eof(true);
    if (data->empty() && frame.input().empty() && frame.notice().empty() && !frame.eof()) return;
    if (!viewer->link->TrySend(frame)) {
      viewer->blocked = true;
      return;
    }
    viewer->offset = next;
    if (last) viewer->input.clear();
    viewer->notice.clear();
    viewer->eof_sent = frame.eof();
  }
}

size_t Console::viewers() const {
  return static_cast<size_t>(
      std::count_if(viewers_.begin(), viewers_.end(), [](const auto& entry) { return !entry.second.terminal; }));
}

v1::ConsoleFacts Console::facts() const {
  v1::ConsoleFacts facts;
  facts.set_name(name_);
  facts.set_bytes_out(history_.end_offset());
  facts.set_viewers(static_cast<uint32_t>(viewers()));
  if (pty_ != nullptr) facts.set_host_tty(pty_->slave_path());
  return facts;
}

}  // namespace umld::vmcore
