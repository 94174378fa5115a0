#include "vmcore/console.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/token_bucket.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

// A viewer whose appetite the test decides.
class FakeLink : public ViewerLink {
 public:
  bool TrySend(const v1::ConsoleData& data) override {
    if (!hungry) return false;
    text += data.data();
    input += data.input();
    lost += data.lost_bytes();
    eof |= data.eof();
    if (!data.notice().empty()) notices.push_back(data.notice());
    EXPECT_LE(data.data().size(), 32U * 1024);
    return true;
  }
  bool hungry = true;
  std::string text;
  std::string input;
  uint64_t lost = 0;
  bool eof = false;
  std::vector<std::string> notices;
};

class ConsoleTest : public testing::Test {
 protected:
  ConsoleTest() {
    folder_ = "/tmp/consoles_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    loop_ = *EventLoop::Create();
    console_ = Console::Create(loop_.get(), {"con0", 16 * 1024, folder_ + "/con0.log", 1 << 20, &log_allowance_});
    console_->Begin(*devices::ConsolePty::Open(24, 80));
  }
  ~ConsoleTest() override {
    console_.reset();
    std::filesystem::remove_all(folder_);
  }

  // As the kernel would print it.
  void Print(const std::string& text) { PrintOn(console_.get(), text); }
  void PrintOn(Console* console, const std::string& text) {
    for (size_t at = 0; at < text.size(); at += 1024) {
      std::string piece = text.substr(at, 1024);
      const uint64_t all = console->facts().bytes_out() + piece.size();
      ASSERT_EQ(write(console->slave(), piece.data(), piece.size()), static_cast<ssize_t>(piece.size()));
      // A terminal passes it on when the host finds time for that.
      for (int i = 0; i < 2000 && console->facts().bytes_out() < all; ++i) RunFor(milliseconds(1));
      ASSERT_GE(console->facts().bytes_out(), all) << "not read";
    }
    RunFor(milliseconds(5));
  }
  void RunFor(milliseconds time) {
    loop_->RunAfter(time, [this] { loop_->Quit(); });
    loop_->Run();
  }
  Console::Attachment Attach(FakeLink* link, bool read_only = false, bool take_over = false) {
    v1::AttachConsole request;
    request.set_history_bytes(1 << 20);
    request.set_read_only(read_only);
    request.set_take_over(take_over);
    auto attachment = console_->Attach(request, link);
    console_->Writable(attachment.viewer);
    return attachment;
  }
  void Type(const Console::Attachment& viewer, const std::string& text) {
    v1::ConsoleData data;
    data.set_data(text);
    console_->Receive(viewer.viewer, data);
  }
  std::string Typed() {
    RunFor(milliseconds(50));
    char buffer[4096];
    ssize_t got = read(console_->slave(), buffer, sizeof(buffer));
    return std::string(buffer, got > 0 ? static_cast<size_t>(got) : 0);
  }

  std::string folder_;
  TokenBucket log_allowance_{0, 4096};  // so little that a test can use it up
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Console> console_;
};

TEST_F(ConsoleTest, NothingIsSentBeforeTheLinkIsReady) {
  Print("past\n");
  FakeLink link;
  v1::AttachConsole request;
  request.set_history_bytes(3);
  Console::Attachment viewer = console_->Attach(request, &link);
  Print("more\n");
  EXPECT_EQ(link.text, "");
  console_->Writable(viewer.viewer);
  EXPECT_EQ(link.text, "st\nmore\n");
  EXPECT_EQ(viewer.offset, 2U);
}

TEST_F(ConsoleTest, AViewerThatComesLateSeesThePast) {
  Print("one\n");
  FakeLink link;
  Attach(&link);
  Print("two\n");
  EXPECT_EQ(link.text, "one\ntwo\n");
  EXPECT_EQ(console_->facts().bytes_out(), 8U);
  EXPECT_EQ(console_->facts().viewers(), 1U);
}

TEST_F(ConsoleTest, AViewerThatDoesNotReadLosesTheOldest) {
  FakeLink slow, quick;
  Console::Attachment viewer = Attach(&slow);
  Attach(&quick);
  slow.hungry = false;
  Print(std::string(100 * 1024, 'x'));
  EXPECT_EQ(quick.text.size(), 100U * 1024);
  EXPECT_EQ(slow.text.size(), 0U);
  slow.hungry = true;
  console_->Writable(viewer.viewer);
  EXPECT_EQ(slow.lost + slow.text.size(), 100U * 1024);
  EXPECT_GE(slow.text.size(), 16U * 1024);
  EXPECT_LE(slow.text.size(), 25U * 1024);
}

TEST_F(ConsoleTest, WhoWrites) {
  FakeLink a, b, c;
  Console::Attachment watcher = Attach(&a, /*read_only=*/true), first = Attach(&b), second = Attach(&c);
  EXPECT_FALSE(watcher.writer);
  EXPECT_TRUE(first.writer);
  EXPECT_FALSE(second.writer);
  Type(watcher, "x");
  Type(second, "y");
  Type(first, "ok");
  EXPECT_EQ(Typed(), "ok");
  EXPECT_EQ(c.notices.size(), 1U);
  console_->Detach(first.viewer);
  Type(second, "mine");
  EXPECT_EQ(Typed(), "mine");
}

TEST_F(ConsoleTest, TakeOver) {
  FakeLink a, b;
  Console::Attachment first = Attach(&a), second = Attach(&b, false, /*take_over=*/true);
  EXPECT_TRUE(second.writer);
  EXPECT_EQ(a.notices.size(), 1U);
  Type(first, "x");
  Type(second, "y");
  EXPECT_EQ(Typed(), "y");
}

TEST_F(ConsoleTest, TheEndComesAfterTheLastByte) {
  FakeLink slow;
  Console::Attachment viewer = Attach(&slow);
  slow.hungry = false;
  Print("last words\n");
  console_->AnnounceEnd();
  EXPECT_FALSE(slow.eof);
  slow.hungry = true;
  console_->Writable(viewer.viewer);
  EXPECT_EQ(slow.text, "last words\n");
  EXPECT_TRUE(slow.eof);
}

TEST_F(ConsoleTest, Tail) {
  Print("0123456789");
  EXPECT_EQ(console_->Tail(0, 100), "0123456789");
  EXPECT_EQ(console_->Tail(0, 4), "6789");
  EXPECT_EQ(console_->Tail(8, 100), "89");
  EXPECT_EQ(console_->Tail(50, 100), "");
}

TEST_F(ConsoleTest, EndsAndBeginsAgain) {
  FakeLink link;
  auto viewer = Attach(&link);
  Print("one\n");
  std::unique_ptr<devices::ConsolePty> pty = console_->End();
  ASSERT_NE(pty, nullptr);
  EXPECT_TRUE(link.eof);
  EXPECT_FALSE(console_->active());
  EXPECT_EQ(console_->slave(), -1);
  Type(viewer, "into the void");
  console_->ReceiveFromTerminal("the same");
  console_->Detach(viewer.viewer);
  console_->Begin(std::move(pty));
  FakeLink second;
  Attach(&second);
  Print("two\n");
  EXPECT_EQ(second.text, "one\ntwo\n");
  EXPECT_FALSE(second.eof);
}

TEST_F(ConsoleTest, DirectionsCanBeShut) {
  FakeLink link;
  auto viewer = Attach(&link);
  console_->SetDirections(/*input=*/false, /*output=*/true);
  Type(viewer, "unheard");
  Type(viewer, "unheard");
  console_->ReceiveFromTerminal("unheard");
  EXPECT_EQ(link.notices, std::vector<std::string>({"this console takes no input"}));
  Print("seen");
  console_->SetDirections(/*input=*/true, /*output=*/false);
  ASSERT_EQ(write(console_->slave(), "unseen", 6), 6);
  RunFor(milliseconds(5));
  Type(viewer, "heard");
  EXPECT_EQ(Typed(), "heard");
  EXPECT_EQ(link.text, "seen");
  EXPECT_EQ(console_->history().end_offset(), 4U);
}

TEST_F(ConsoleTest, ATerminalTypesBesideTheWriterAndCountsAsNoViewer) {
  FakeLink link, terminal;
  auto viewer = Attach(&link);
  EXPECT_TRUE(viewer.writer);
  Print("before");
  auto id = console_->AttachTerminal(&terminal);
  console_->Writable(id);
  EXPECT_EQ(console_->viewers(), 1U);
  console_->ReceiveFromTerminal("from the terminal;");
  Type(viewer, "from the viewer;");
  const std::string first = Typed();  // paced: the rest comes when this has been read
  EXPECT_EQ(first + Typed(), "from the terminal;from the viewer;");
  Print("after");
  EXPECT_EQ(terminal.text, "after");
  EXPECT_TRUE(terminal.notices.empty());
  console_->Detach(id);
}

TEST_F(ConsoleTest, ShowsInputToThoseWhoWantIt) {
  FakeLink link, recorder;
  auto viewer = Attach(&link);
  v1::AttachConsole request;
  request.set_read_only(true);
  request.set_include_input(true);
  auto recording = console_->Attach(request, &recorder);
  console_->Writable(recording.viewer);
  Type(viewer, "typed");
  console_->ReceiveFromTerminal(" here");
  EXPECT_EQ(recorder.input, "typed here");
  EXPECT_EQ(link.input, "");
  // One that does not read is shown a frame's worth of it and no more.
  recorder.hungry = false;
  for (int i = 0; i < 100; ++i) Type(viewer, std::string(1000, 'x'));
  recorder.hungry = true;
  console_->Writable(recording.viewer);
  EXPECT_GT(recorder.input.size(), 30000U);
  EXPECT_LT(recorder.input.size(), 34000U);
}

TEST_F(ConsoleTest, TheLogsOfTwoConsolesShareOneAllowance) {
  std::unique_ptr<Console> other =
      Console::Create(loop_.get(), {"con1", 16 * 1024, folder_ + "/con1.log", 1 << 20, &log_allowance_});
  other->Begin(*devices::ConsolePty::Open(24, 80));
  Print(std::string(3000, 'x'));
  PrintOn(other.get(), std::string(3000, 'y'));
  EXPECT_EQ(std::filesystem::file_size(folder_ + "/con0.log"), 3000U);
  EXPECT_LE(std::filesystem::file_size(folder_ + "/con1.log"), 1096U);
  // The log alone has a gap.
  EXPECT_EQ(other->Tail(0, 4096), std::string(3000, 'y'));
}

}  // namespace
}  // namespace umld::vmcore
