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
  state::EventRow Commit(const std::string& type, const std::string& subject = "") {
    state::EventRow event;
    event.type = type;
    event.subject = subject;
    EXPECT_TRUE(store_
                    ->Commit([&](state::Transaction& transaction) {
                      absl::StatusOr<uint64_t> sequence = transaction.AppendEvent(event);
                      if (sequence.ok()) event.sequence = *sequence;
                      return sequence.status();
                    })
                    .ok());
    return event;
  }
  std::string Types(uint64_t after, EventLog::Gaps gaps = EventLog::Gaps::kRefuse) {
    std::string types;
    const std::vector<state::EventRow> events = *log_->Read(after, 100, gaps);
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

TEST_F(EventLogTest, WhatIsMissingInTheMiddleIsSaidToo) {
  log_->Publish({Commit("a", "guests/quiet")});
  for (const char* type : {"b", "c", "d", "e", "f"}) log_->Publish({Commit(type, "guests/noisy")});
  ASSERT_TRUE(store_->Prune(3, 0).ok());
  EXPECT_EQ(Types(0), "abcdef") << "the newest are in memory";
  log_ = *EventLog::Create(store_.get());
  for (const uint64_t after : {0u, 1u, 3u}) {
    EXPECT_EQ(log_->Read(after, 10).status().code(), absl::StatusCode::kOutOfRange) << after;
  }
  EXPECT_EQ(Types(4), "ef");
  EXPECT_EQ(Types(0, EventLog::Gaps::kSkip), "aef");
  // Up to the gap nothing is missing.
  EXPECT_EQ(log_->Read(0, 1)->size(), 1u);
}

}  // namespace
}  // namespace umld
