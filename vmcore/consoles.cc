#include "vmcore/consoles.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "vmcore/console_layout.h"
#include "vmcore/log.h"

namespace umld::vmcore {
namespace {

using devices::ConsoleChannel;
using devices::ConsoleDevice;
using devices::ConsolePty;
using devices::ConsoleSpec;

constexpr ConsoleDevice kCon0 = {false, 0};
constexpr uint16_t kRows = 24, kColumns = 80;
// Lines that can be added to a running kernel. Each is a pty of the host, and those are few (4,096 by default), so a
// host that has given away half of them gives no more for this.
constexpr size_t kSpares = 4;
constexpr char kAlreadyOpen[] = "already open";

std::string Subject(const ConsoleDevice& device) { return absl::StrCat("consoles/", devices::ConsoleName(device)); }

bool HostHasPtysToSpare() {
  uint64_t taken = 0, most = 0;
  absl::StatusOr<std::string> nr = ReadFile("/proc/sys/kernel/pty/nr", 32),
                              max = ReadFile("/proc/sys/kernel/pty/max", 32);
  // Unknown: it is asked when one is opened.
  if (!nr.ok() || !max.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*nr), &taken) ||
      !absl::SimpleAtoi(absl::StripAsciiWhitespace(*max), &most)) {
    return true;
  }
  return taken < most / 2;
}

bool TakesInput(const ConsoleSpec& spec) { return spec.in.kind != ConsoleChannel::Kind::kNull; }
// con0 keeps the kernel's messages, for the log and the reason of a crash, also when they go nowhere else.
bool TakesOutput(const ConsoleSpec& spec) {
  return spec.out.kind != ConsoleChannel::Kind::kNull || spec.device == kCon0;
}

absl::Status Busy(const ConsoleDevice& device) {
  const std::string name = devices::ConsoleName(device);
  return MakeError(
      absl::StatusCode::kFailedPrecondition, "it is open inside the guest",
      {"DEVICE_BUSY", Subject(device),
       absl::StrCat("end what uses it there (a getty), or set ", name, "=null, which the guest does not notice")});
}

absl::Status Refusal(const ConsoleDevice& device, const MconsoleAnswer& answer) {
  if (absl::StrContains(answer.text, kAlreadyOpen)) return Busy(device);
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("the guest's kernel refuses it: ",
                                answer.text.empty() ? absl::StrCat("error ", answer.error) : answer.text),
                   {"KERNEL_REFUSED", Subject(device), "see the guest's kernel messages (con0)"});
}

absl::Status NoSpare(const ConsoleDevice& device, size_t given) {
  const bool few = given < kSpares;
  return MakeError(absl::StatusCode::kResourceExhausted,
                   absl::StrCat("the running kernel has no spare terminals left of the ", given, " that it was given",
                                few ? ", for the host had few itself" : ""),
                   {"NO_SPARE_TERMINAL", Subject(device),
                    absl::StrCat("remove another console, or stop the guest, plug, and start it",
                                 few ? "; more for every guest: sysctl kernel.pty.max" : "")});
}

std::string ReportedChannel(const ConsoleChannel& wanted, const ChannelBackend* backend) {
  return backend == nullptr ? devices::PrintConsoleChannel(wanted) : backend->reported();
}

}  // namespace

Consoles::Consoles(EventLoop* loop, Options options, EventLoop::Clock::duration deadline)
    : loop_(loop), options_(std::move(options)), deadline_(deadline), changes_(loop) {}

// ---------------------------------------------------------------- lines and their channels

Consoles::Line& Consoles::LineOf(const ConsoleDevice& device) {
  auto [found, is_new] = lines_.try_emplace(device);
  if (is_new) found->second.spec = NullLine(device);
  return found->second;
}

Console* Consoles::ConsoleOf(const ConsoleDevice& device, Line* line) {
  if (line->console == nullptr) {
    const std::string name = devices::ConsoleName(device);
    line->console =
        Console::Create(loop_, {name, options_.history_bytes, absl::StrCat(options_.log_dir, "/", name, ".log"),
                                options_.log_rotate_bytes, &log_allowance_});
    line->console->OnDeaf(options_.nudge);
    line->console->SetAtRest(options_.at_rest);
  }
  return line->console.get();
}

// The channels of `spec` in the place of those that the line has. On failure those stay.
absl::Status Consoles::OpenChannels(const ConsoleSpec& spec, Line* line) {
  auto open = [&](std::unique_ptr<ChannelBackend>* in, std::unique_ptr<ChannelBackend>* out) -> absl::Status {
    const bool one = spec.in == spec.out;
    if (!one) {
      ASSIGN_OR_RETURN(*in, OpenChannel(loop_, line->console.get(), spec.in, true, false));
    }
    ASSIGN_OR_RETURN(*out, OpenChannel(loop_, line->console.get(), spec.out, one, true));
    return absl::OkStatus();
  };
  std::unique_ptr<ChannelBackend> in, out;
  absl::Status opened = open(&in, &out);
  if (GetErrorDetail(opened).reason == "PORT_IN_USE" && line->out != nullptr) {
    // Perhaps by this very line: the same port at another address.
    std::unique_ptr<ChannelBackend> none;
    const ConsoleSpec before = line->spec;
    CloseChannels(line);
    opened = open(&in, &out);
    if (!opened.ok()) {
      if (absl::Status back = OpenChannels(before, line); !back.ok()) Log(back.message());
    }
  }
  RETURN_IF_ERROR(opened);
  line->in = std::move(in);
  line->out = std::move(out);
  line->spec = spec;
  line->console->SetDirections(TakesInput(spec), TakesOutput(spec));
  return absl::OkStatus();
}

void Consoles::CloseChannels(Line* line) {
  line->in.reset();
  line->out.reset();
}

absl::Status Consoles::PrepareBoot(const v1::GuestConfig& config) {
  ASSIGN_OR_RETURN(std::vector<ConsoleSpec> wanted, ConsoleLines(config));
  // What the last kernel had of its own is forgotten; its terminals are used again.
  std::map<ConsoleDevice, ConsoleSpec> next;
  for (const ConsoleSpec& spec : wanted) next.emplace(spec.device, spec);
  for (auto& [device, line] : lines_) {
    line.kernel_fd = -1;
    auto found = next.find(device);
    if (found != next.end() && HasTerminal(found->second)) continue;
    CloseChannels(&line);
    line.spec = found != next.end() ? found->second : NullLine(device);
    if (line.console != nullptr && line.console->active()) spares_.push_back({-1, line.console->End()});
  }
  size_t index = 0;
  for (const ConsoleSpec& spec : wanted) {
    Line& line = LineOf(spec.device);
    if (!HasTerminal(spec)) {
      line.spec = spec;
      continue;
    }
    Console* console = ConsoleOf(spec.device, &line);
    const bool fresh = !console->active();
    if (fresh) {
      absl::StatusOr<std::unique_ptr<ConsolePty>> pty;
      if (spares_.empty()) {
        pty = ConsolePty::Open(kRows, kColumns);
      } else {
        pty = std::move(spares_.back().terminal);
        spares_.pop_back();
      }
      if (!pty.ok()) return Annotate(pty.status(), absl::StrCat("console ", devices::ConsoleName(spec.device)));
      console->Begin(*std::move(pty));
      line.spec = NullLine(spec.device);
    }
    if (fresh || line.spec != spec) {
      absl::Status opened = OpenChannels(spec, &line);
      if (!opened.ok()) return Annotate(opened, absl::StrCat("console ", devices::ConsoleName(spec.device)));
    }
    line.kernel_fd = TerminalFd(index++);
  }
  TopUpSpares();
  for (Spare& spare : spares_) spare.kernel_fd = TerminalFd(index++);
  return absl::OkStatus();
}

void Consoles::TopUpSpares() {
  if (spares_.size() > kSpares) spares_.resize(kSpares);
  while (spares_.size() < kSpares && HostHasPtysToSpare()) {
    absl::StatusOr<std::unique_ptr<ConsolePty>> pty = ConsolePty::Open(kRows, kColumns);
    if (!pty.ok()) break;  // a guest without spares is a guest all the same
    spares_.push_back({-1, *std::move(pty)});
  }
  given_ = spares_.size();
}

std::vector<int> Consoles::terminals() const {
  std::map<int, int> slaves;
  for (const auto& [device, line] : lines_) {
    if (line.kernel_fd >= 0) slaves[line.kernel_fd] = line.console->slave();
  }
  for (const Spare& spare : spares_) slaves[spare.kernel_fd] = spare.terminal->slave();
  std::vector<int> all;
  all.reserve(slaves.size());
  for (const auto& [kernel_fd, slave] : slaves) all.push_back(slave);
  return all;
}

// ---------------------------------------------------------------- changes of a running kernel

void Consoles::KernelGone(absl::string_view reason) {
  changes_.Abandon(reason);
  mconsole_ = nullptr;
}

void Consoles::Set(const ConsoleSpec& spec, Done done) {
  changes_.Add([this, spec] { Run(spec); }, std::move(done));
}

bool Consoles::KeepsTerminal(const ConsoleSpec& spec) const {
  auto line = lines_.find(spec.device);
  return !IsNone(spec) && line != lines_.end() && line->second.kernel_fd >= 0;
}

void Consoles::Run(const ConsoleSpec& spec) {
  Line& line = LineOf(spec.device);
  if (IsNone(spec)) return Remove(spec.device);
  // The terminal that the kernel has stays, whatever is behind it.
  if (KeepsTerminal(spec)) return changes_.Finish(OpenChannels(spec, &line));
  if (HasTerminal(spec)) return AddTerminal(spec);
  SetNull(spec);
}

void Consoles::AddTerminal(const ConsoleSpec& spec) {
  if (spares_.empty()) return changes_.Finish(NoSpare(spec.device, given_));
  Line& line = LineOf(spec.device);
  const ConsoleSpec before = line.spec;
  const int kernel_fd = spares_.front().kernel_fd;
  ConsoleOf(spec.device, &line)->Begin(std::move(spares_.front().terminal));
  spares_.erase(spares_.begin());
  if (absl::Status opened = OpenChannels(spec, &line); !opened.ok()) {
    TakeSpareBack(before, kernel_fd);
    return changes_.Finish(opened);
  }
  const std::string terminal = absl::StrCat("fd:", kernel_fd);
  Ask(spec.device, absl::StrCat("config ", devices::ConsoleName(spec.device), "=", terminal), terminal,
      [this, before, kernel_fd](const absl::Status& status) {
        if (status.ok()) {
          LineOf(before.device).kernel_fd = kernel_fd;
        } else {
          TakeSpareBack(before, kernel_fd);
        }
        changes_.Finish(status);
      });
}

// The line is again what it was, with no terminal.
void Consoles::TakeSpareBack(const ConsoleSpec& before, int kernel_fd) {
  Line& line = LineOf(before.device);
  CloseChannels(&line);
  line.spec = before;
  line.kernel_fd = -1;
  spares_.push_back({kernel_fd, line.console->End()});
}

void Consoles::Remove(const ConsoleDevice& device) {
  if (device == kCon0) {
    return changes_.Finish(MakeError(absl::StatusCode::kFailedPrecondition, "it takes the kernel's own messages",
                                     {"CONSOLE_NEEDED", Subject(device), "con0=null keeps them in the log alone"}));
  }
  ConsoleSpec none = NullLine(device);
  none.in.kind = none.out.kind = ConsoleChannel::Kind::kNone;
  if (IsNone(LineOf(device).spec)) {
    return changes_.Finish(MakeError(absl::StatusCode::kNotFound, "the running kernel has no such line",
                                     {"DEVICE_NOT_PLUGGED", Subject(device), ""}));
  }
  Ask(device, absl::StrCat("remove ", devices::ConsoleName(device)), "none", [this, none](const absl::Status& status) {
    if (status.ok()) {
      Line& line = LineOf(none.device);
      if (line.kernel_fd >= 0) TakeSpareBack(none, line.kernel_fd);
      line.spec = none;
    }
    changes_.Finish(status);
  });
}

// Of a line that has no terminal: the kernel itself has it as null, or gets it back as that.
void Consoles::SetNull(const ConsoleSpec& spec) {
  if (!IsNone(LineOf(spec.device).spec)) return changes_.Finish(absl::OkStatus());
  Ask(spec.device, absl::StrCat("config ", devices::ConsoleName(spec.device), "=null"), "null",
      [this, spec](const absl::Status& status) {
        if (status.ok()) LineOf(spec.device).spec = spec;
        changes_.Finish(status);
      });
}

void Consoles::Ask(const ConsoleDevice& device, const std::string& command, const std::string& outcome, Done then) {
  mconsole_->Send(command, deadline_, [=, this](const absl::StatusOr<MconsoleAnswer>& answer) {
    if (absl::IsDeadlineExceeded(answer.status())) {
      // Sent, and not answered: the kernel's own word on the line decides.
      const absl::Status& timeout = answer.status();
      return mconsole_->Send(absl::StrCat("config ", devices::ConsoleName(device)), deadline_,
                             [=](const absl::StatusOr<MconsoleAnswer>& now) {
                               const bool done = now.ok() && now->error == 0 && now->text == outcome;
                               then(done ? absl::OkStatus() : timeout);
                             });
    }
    if (!answer.ok()) return then(answer.status());
    if (answer->error == 0) return then(absl::OkStatus());
    then(Refusal(device, *answer));
  });
}

// ---------------------------------------------------------------- all of them

Console* Consoles::con0() const { return lines_.at(kCon0).console.get(); }

Console* Consoles::Find(absl::string_view name) const {
  absl::StatusOr<ConsoleDevice> device = devices::ParseConsoleName(name);
  if (!device.ok()) return nullptr;
  auto found = lines_.find(*device);
  if (found == lines_.end() || found->second.console == nullptr || !found->second.console->active()) return nullptr;
  return found->second.console.get();
}

void Consoles::MoveLogs(const std::string& log_dir) {
  options_.log_dir = log_dir;
  for (auto& [device, line] : lines_) {
    if (line.console == nullptr) continue;
    line.console->MoveLog(absl::StrCat(log_dir, "/", devices::ConsoleName(device), ".log"), options_.log_rotate_bytes);
  }
}

void Consoles::Drain() {
  for (auto& [device, line] : lines_) {
    if (line.console != nullptr) line.console->Drain();
  }
}

void Consoles::DropInput() {
  for (auto& [device, line] : lines_) {
    if (line.console != nullptr) line.console->DropInput();
  }
}

void Consoles::AnnounceEnd() {
  for (auto& [device, line] : lines_) {
    if (line.console != nullptr) line.console->AnnounceEnd();
  }
}

void Consoles::AddFacts(v1::Facts* facts) const {
  uint32_t viewers = 0;
  for (const auto& [device, line] : lines_) {
    if (line.spec == NullLine(device) && line.kernel_fd < 0) continue;
    v1::ConsoleFacts* console = facts->add_consoles();
    if (line.console != nullptr) {
      *console = line.console->facts();
      viewers += console->viewers();
    }
    console->set_name(devices::ConsoleName(device));
    console->set_channels(devices::PrintConsoleValue(line.spec.in, line.spec.out));
    const std::string out = ReportedChannel(line.spec.out, line.out.get());
    console->set_reported(
        line.spec.in == line.spec.out ? out : absl::StrCat(ReportedChannel(line.spec.in, line.in.get()), ",", out));
  }
  facts->set_viewers(viewers);
}

}  // namespace umld::vmcore
