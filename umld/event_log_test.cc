#include "umld/event_log.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "state/store.h"

namespace umld {
namespace {

class EventLogTest : public testing::Test {
 protected:
  EventLogTest() {
    std::string folder = testing::TempDir() + "/events.XXXXXX";
    store_ = *state::Store::Open(std::string(mkdtemp(folder.data())) + "/umld.db");
    log_ = *EventLog::Create(store_.get());
  }
  state::EventRow Commit(const std::string& type) {
    state::EventRow event;
    event.type = type;
    EXPECT_TRUE(store_
                    ->Commit([&](state::Transaction& transaction) {
                      absl::StatusOr<uint64_t> sequence = transaction.AppendEvent(event);
                      if (sequence.ok()) event.sequence = *sequence;
                      return sequence.status();
                    })
                    .ok());
    return event;
  }
  std::string Types(uint64_t after) {
    std::string types;
    const std::vector<state::EventRow> events = *log_->Read(after, 100);
    for (const state::EventRow& event : events) types += event.type;
    return types;
  }
  std::unique_ptr<state::Store> store_;
  std::unique_ptr<EventLog> log_;
};

TEST_F(EventLogTest, EventsBecomeVisibleInOrderWhoeverPublishesFirst) {
  int told = 0;
  log_->AddListener([&] { ++told; });
  state::EventRow a = Commit("a"), b = Commit("b");
  log_->Publish({b});
  EXPECT_EQ(log_->LastSequence(), 0u);
  EXPECT_EQ(told, 0);
  log_->Publish({a});
  EXPECT_EQ(log_->LastSequence(), b.sequence);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(Types(0), "ab");
  EXPECT_EQ(Types(a.sequence), "b");
  EXPECT_EQ(Types(b.sequence), "");
}

TEST_F(EventLogTest, ANewDaemonGoesOnWhereTheLastOneEnded) {
  log_->Publish({Commit("a")});
  log_ = *EventLog::Create(store_.get());
  EXPECT_EQ(Types(0), "a");  // from the database
  state::EventRow b = Commit("b");
  log_->Publish({b});
  EXPECT_EQ(Types(0), "ab");
  EXPECT_EQ(Types(b.sequence - 1), "b");
}

TEST_F(EventLogTest, WhatIsNoLongerKeptIsSaidNotSkipped) {
  for (const char* type : {"a", "b", "c"}) log_->Publish({Commit(type)});
  log_ = *EventLog::Create(store_.get());
  ASSERT_TRUE(store_->Prune(1, 0).ok());
  EXPECT_EQ(log_->Read(0, 10).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Types(2), "c");
}

}  // namespace
}  // namespace umld
