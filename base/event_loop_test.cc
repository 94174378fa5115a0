#include "base/event_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace umld {
namespace {

class EventLoopTest : public testing::Test {
 protected:
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
};

TEST_F(EventLoopTest, TimersRunInOrderAndCancelledOnesDoNot) {
  std::string order;
  // Far enough apart for a busy host, which may stop us between two of these lines.
  loop_->RunAfter(std::chrono::milliseconds(600), [&] {
    order += "b";
    loop_->Quit();
  });
  EventLoop::TimerId cancelled = loop_->RunAfter(std::chrono::milliseconds(300), [&] { order += "x"; });
  loop_->RunAfter(std::chrono::milliseconds(1), [&] {
    order += "a";
    loop_->Cancel(cancelled);
  });
  loop_->Run();
  EXPECT_EQ(order, "ab");
}

TEST_F(EventLoopTest, UnwatchedFdIsSilentEvenWithAnEventFetched) {
  int a[2], b[2];
  ASSERT_EQ(pipe(a), 0);
  ASSERT_EQ(pipe(b), 0);
  int calls = 0;
  auto handler = [&](uint32_t) {
    ++calls;
    loop_->Unwatch(a[0]);
    loop_->Unwatch(b[0]);
    loop_->Quit();
  };
  loop_->Watch(a[0], EPOLLIN, handler);
  loop_->Watch(b[0], EPOLLIN, handler);
  ASSERT_EQ(write(a[1], "x", 1), 1);
  ASSERT_EQ(write(b[1], "x", 1), 1);
  loop_->Run();
  EXPECT_EQ(calls, 1);
  for (int fd : {a[0], a[1], b[0], b[1]}) close(fd);
}

TEST_F(EventLoopTest, PostFromAnotherThread) {
  bool ran = false;
  std::thread other([&] {
    loop_->Post([&] { ran = true; });
    loop_->Quit();
  });
  loop_->Run();
  other.join();
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace umld
