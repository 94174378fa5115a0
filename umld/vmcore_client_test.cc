#include "umld/vmcore_client.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/packet_socket.h"
#include "base/status.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using vmcore::v1::Frame;

// The other end is played by the test itself over a real socket.
class VmcoreClientTest : public testing::Test {
 protected:
  VmcoreClientTest() {
    auto pair = *PacketPair();
    peer_ = std::move(pair.second);
    client_ = std::make_shared<VmcoreClient>(loop_.get(), std::move(pair.first));
    thread_ = std::thread([this] { loop_->Run(); });
  }
  ~VmcoreClientTest() override {
    client_->Close();
    loop_->Quit();
    thread_.join();
  }
  Frame Receive() {
    while (true) {
      absl::StatusOr<std::string> packet = ReceivePacket(peer_.get());
      Frame frame;
      if (packet.ok() && frame.ParseFromString(*packet)) return frame;
      std::this_thread::yield();
    }
  }
  void Send(const Frame& frame) { ASSERT_TRUE(SendPacket(peer_.get(), frame.SerializeAsString()).ok()); }

  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  UniqueFd peer_;
  std::shared_ptr<VmcoreClient> client_;
  std::thread thread_;
};

TEST_F(VmcoreClientTest, RepliesFindTheirCallsInAnyOrder) {
  client_->Begin([](const auto&) {}, [] {});
  std::vector<std::thread> callers;
  std::vector<uint32_t> boots(2);
  for (uint32_t i = 0; i < 2; ++i) {
    callers.emplace_back([this, i, &boots] {
      vmcore::v1::Request request;
      request.mutable_unplug_disk()->set_unit(i);
      boots[i] = client_->Call(request, absl::Seconds(60))->facts().boots();
    });
  }
  std::vector<Frame> asked = {Receive(), Receive()};
  for (size_t i : {1, 0}) {
    Frame answer;
    answer.set_id(asked[i].id());
    answer.mutable_reply()->mutable_facts()->set_boots(100 + asked[i].request().unplug_disk().unit());
    Send(answer);
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(boots, (std::vector<uint32_t>{100, 101}));
}

TEST_F(VmcoreClientTest, AnErrorKeepsItsDetail) {
  client_->Begin([](const auto&) {}, [] {});
  std::thread peer([this] {
    Frame answer;
    answer.set_id(Receive().id());
    answer.mutable_reply()->mutable_error()->set_code(static_cast<int>(absl::StatusCode::kFailedPrecondition));
    answer.mutable_reply()->mutable_error()->set_message("mounted");
    answer.mutable_reply()->mutable_error()->set_hint("umount it");
    Send(answer);
  });
  absl::Status status = client_->Call({}, absl::Seconds(60)).status();
  peer.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(status).hint, "umount it");
}

TEST_F(VmcoreClientTest, SilenceEndsAtTheDeadlineAndTheLateReplyIsDropped) {
  client_->Begin([](const auto&) {}, [] {});
  EXPECT_EQ(client_->Call({}, absl::Milliseconds(20)).status().code(), absl::StatusCode::kDeadlineExceeded);
  Frame late;
  late.set_id(Receive().id());
  late.mutable_reply()->mutable_facts()->set_boots(1);
  Send(late);
  std::thread peer([this] {
    Frame answer;
    answer.set_id(Receive().id());
    answer.mutable_reply()->mutable_facts()->set_boots(2);
    Send(answer);
  });
  EXPECT_EQ(client_->Call({}, absl::Seconds(60))->facts().boots(), 2u);
  peer.join();
}

TEST_F(VmcoreClientTest, RetiredItFinishesItsCallsAndCloses) {
  std::atomic<int> told = 0;
  client_->Begin([&](const auto&) { ++told; }, [&] { ++told; });
  std::thread caller([this] { EXPECT_EQ(client_->Call({}, absl::Seconds(60))->facts().boots(), 7u); });
  Frame answer;
  answer.set_id(Receive().id());
  client_->Retire();
  absl::Notification passed;
  loop_->Post([&] { passed.Notify(); });
  passed.WaitForNotification();
  Frame event;
  event.mutable_event()->mutable_facts();
  Send(event);
  answer.mutable_reply()->mutable_facts()->set_boots(7);
  Send(answer);
  caller.join();
  while (absl::IsNotFound(ReceivePacket(peer_.get()).status())) std::this_thread::yield();
  EXPECT_TRUE(absl::IsUnavailable(ReceivePacket(peer_.get()).status())) << ReceivePacket(peer_.get()).status();
  EXPECT_TRUE(absl::IsUnavailable(client_->Call({}, absl::Seconds(60)).status()));
  EXPECT_EQ(told, 0);
}

TEST_F(VmcoreClientTest, TheEndOfThePeerFailsCallsAndIsToldOnce) {
  absl::Notification closed;
  client_->Begin([](const auto&) {}, [&] { closed.Notify(); });
  std::thread peer([this] {
    Receive();
    peer_.reset();
  });
  EXPECT_EQ(client_->Call({}, absl::Seconds(60)).status().code(), absl::StatusCode::kUnavailable);
  peer.join();
  closed.WaitForNotification();
  EXPECT_EQ(client_->Call({}, absl::Seconds(60)).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(VmcoreClientTest, EventsAndUnreadableFramesInBetween) {
  absl::Notification got;
  client_->Begin(
      [&](const vmcore::v1::Event& event) {
        if (event.sequence() == 7) got.Notify();
      },
      [] {});
  ASSERT_TRUE(SendPacket(peer_.get(), "\xff\xff\xff not a frame").ok());
  Frame frame;
  frame.mutable_event()->set_sequence(7);
  Send(frame);
  got.WaitForNotification();
}

// A vmcore that was taken over by its guest.
TEST_F(VmcoreClientTest, EventsWithoutEndLeaveTheLoopToOthers) {
  client_->Begin([](const auto&) {}, [] {});
  std::atomic<bool> stop = false;
  std::thread sender([&] {
    Frame frame;
    frame.mutable_event()->set_user_message(std::string(1000, 'x'));
    while (!stop) (void)SendPacket(peer_.get(), frame.SerializeAsString());
  });
  for (int i = 0; i < 20; ++i) {
    absl::Notification ran;
    loop_->Post([&] { ran.Notify(); });
    EXPECT_TRUE(ran.WaitForNotificationWithTimeout(absl::Seconds(20)));
  }
  stop = true;
  sender.join();
}

}  // namespace
}  // namespace umld
