#include "umld/operations.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "base/status.h"
#include "gtest/gtest.h"
#include "state/store.h"

namespace umld {
namespace {

class OperationsTest : public testing::Test {
 protected:
  OperationsTest() {
    std::string folder = testing::TempDir() + "/operations.XXXXXX";
    store_ = *state::Store::Open(std::string(mkdtemp(folder.data())) + "/umld.db");
    operations_ = std::make_unique<Operations>(store_.get(), loop_.get());
    thread_ = std::thread([this] { loop_->Run(); });
  }
  ~OperationsTest() override {
    loop_->Quit();
    thread_.join();
  }
  Operations::Begun Begin(const std::string& request_id) {
    state::OperationRow row;
    row.verb = "start";
    row.target = "guests/web1";
    row.request_id = request_id;
    return *operations_->Begin(row);
  }
  std::unique_ptr<state::Store> store_;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  std::unique_ptr<Operations> operations_;
  std::thread thread_;
};

TEST_F(OperationsTest, TheSameRequestIdIsTheSameOperation) {
  Operations::Begun first = Begin("r1"), again = Begin("r1"), other = Begin("r2");
  EXPECT_TRUE(first.is_new);
  EXPECT_FALSE(again.is_new);
  EXPECT_EQ(again.row.id, first.row.id);
  EXPECT_NE(other.row.id, first.row.id);
  operations_->Finish(first.row, absl::OkStatus());
  EXPECT_TRUE(Begin("r1").row.done);
  EXPECT_TRUE(Begin("").is_new);
  EXPECT_TRUE(Begin("").is_new);
}

TEST_F(OperationsTest, WaitersHearTheOutcomeWithItsDetail) {
  Operations::Begun begun = Begin("");
  absl::Notification heard;
  absl::Status outcome;
  operations_->Wait(begun.row.id, absl::Minutes(10), [&](absl::StatusOr<OperationView> view) {
    outcome = OperationStatus(view->row);
    heard.Notify();
  });
  operations_->Finish(begun.row,
                      MakeError(absl::StatusCode::kAborted, "crashed", {"GUEST_CRASHED", "guests/web1", "look"}));
  heard.WaitForNotification();
  EXPECT_EQ(outcome.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(GetErrorDetail(outcome).hint, "look");
  EXPECT_EQ(operations_->Get(begun.row.id)->row.reason, "GUEST_CRASHED");  // and it is in the database
}

TEST_F(OperationsTest, AWaitThatRunsOutSaysHowFarItIs) {
  Operations::Begun begun = Begin("");
  operations_->SetProgress(begun.row.id, 40, "booting");
  absl::Notification heard;
  OperationView seen;
  operations_->Wait(begun.row.id, absl::Milliseconds(5), [&](absl::StatusOr<OperationView> view) {
    seen = *view;
    heard.Notify();
  });
  heard.WaitForNotification();
  EXPECT_FALSE(seen.row.done);
  EXPECT_EQ(seen.percent, 40u);
  EXPECT_EQ(seen.progress, "booting");
}

TEST_F(OperationsTest, WhatIsUnfinishedIsFoundByTheNextDaemon) {
  Operations::Begun begun = Begin("");
  std::vector<state::OperationRow> unfinished = store_->LoadUnfinishedOperations().value();
  ASSERT_EQ(unfinished.size(), 1u);
  EXPECT_EQ(unfinished[0].id, begun.row.id);
  operations_->Finish(begun.row, absl::OkStatus());
  EXPECT_TRUE(store_->LoadUnfinishedOperations()->empty());
}

TEST_F(OperationsTest, NamesThatAreNotOursAreNotFound) {
  EXPECT_EQ(*ParseOperationName("operations/42"), 42u);
  EXPECT_EQ(ParseOperationName("operations/x").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(operations_->Get(4242).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace umld
