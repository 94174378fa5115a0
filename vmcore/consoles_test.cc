#include "vmcore/consoles.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

// A viewer whose appetite the test decides.
class FakeLink : public ViewerLink {
 public:
  bool TrySend(const v1::ConsoleData& data) override {
    if (!hungry) return false;
    text += data.data();
    lost += data.lost_bytes();
    eof |= data.eof();
    if (!data.notice().empty()) notices.push_back(data.notice());
    EXPECT_LE(data.data().size(), 32U * 1024);
    return true;
  }
  bool hungry = true;
  std::string text;
  uint64_t lost = 0;
  bool eof = false;
  std::vector<std::string> notices;
};

class ConsolesTest : public testing::Test {
 protected:
  ConsolesTest() {
    folder_ = "/tmp/consoles_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    loop_ = *EventLoop::Create();
    console_ = *Console::Open(loop_.get(), {"con0", 16 * 1024, folder_ + "/con0.log", 1 << 20});
  }
  ~ConsolesTest() override {
    console_.reset();
    std::filesystem::remove_all(folder_);
  }

  // As the kernel would print it.
  void Print(const std::string& text) {
    for (size_t at = 0; at < text.size(); at += 1024) {
      std::string piece = text.substr(at, 1024);
      ASSERT_EQ(write(console_->slave(), piece.data(), piece.size()), static_cast<ssize_t>(piece.size()));
      RunFor(milliseconds(1));
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
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Console> console_;
};

TEST_F(ConsolesTest, NothingIsSentBeforeTheLinkIsReady) {
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

TEST_F(ConsolesTest, AViewerThatComesLateSeesThePast) {
  Print("one\n");
  FakeLink link;
  Attach(&link);
  Print("two\n");
  EXPECT_EQ(link.text, "one\ntwo\n");
  EXPECT_EQ(console_->facts().bytes_out(), 8U);
  EXPECT_EQ(console_->facts().viewers(), 1U);
}

TEST_F(ConsolesTest, AViewerThatDoesNotReadLosesTheOldest) {
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

TEST_F(ConsolesTest, WhoWrites) {
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

TEST_F(ConsolesTest, TakeOver) {
  FakeLink a, b;
  Console::Attachment first = Attach(&a), second = Attach(&b, false, /*take_over=*/true);
  EXPECT_TRUE(second.writer);
  EXPECT_EQ(a.notices.size(), 1U);
  Type(first, "x");
  Type(second, "y");
  EXPECT_EQ(Typed(), "y");
}

TEST_F(ConsolesTest, TheEndComesAfterTheLastByte) {
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

TEST_F(ConsolesTest, Tail) {
  Print("0123456789");
  EXPECT_EQ(console_->Tail(0, 100), "0123456789");
  EXPECT_EQ(console_->Tail(0, 4), "6789");
  EXPECT_EQ(console_->Tail(8, 100), "89");
  EXPECT_EQ(console_->Tail(50, 100), "");
}

}  // namespace
}  // namespace umld::vmcore
