#include "vmcore/consoles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/status.h"
#include "vmcore/mconsole_client.h"
#include "vmcore/mconsole_fake.h"

namespace umld::vmcore {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using Commands = std::vector<std::string>;

// Consoles against a kernel whose every answer the test decides.
class ConsolesTest : public testing::Test {
 protected:
  ConsolesTest() {
    folder_ = "/tmp/consoles_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    loop_ = *EventLoop::Create();
    mconsole_ = std::make_unique<MconsoleClient>(loop_.get(), folder_ + "/mconsole", folder_);
    kernel_ = std::make_unique<FakeMconsole>(loop_.get(), folder_ + "/mconsole",
                                             [this](const std::string& command, const FakeMconsole::Peer& from) {
                                               seen_.push_back(command);
                                               Answer(command, from);
                                             });
    consoles_ = std::make_unique<Consoles>(
        loop_.get(), Consoles::Options{16 * 1024, folder_, 1 << 20, {}, [] { return true; }}, milliseconds(300));
  }
  ~ConsolesTest() override {
    consoles_.reset();
    mconsole_.reset();
    kernel_.reset();
    fs::remove_all(folder_);
  }

  void Answer(const std::string& command, const FakeMconsole::Peer& from) {
    if (deaf_ > 0) {
      --deaf_;
      return;
    }
    auto answer = answers_.find(command);
    if (answer == answers_.end()) {
      kernel_->Reply(from, "");
    } else {
      kernel_->Reply(from, answer->second.second, answer->second.first);
    }
  }

  void Boot(const std::vector<std::pair<std::string, std::string>>& config) {
    absl::Status status = consoles_->PrepareBoot(Config(config));
    ASSERT_TRUE(status.ok()) << status;
    consoles_->KernelStarted(mconsole_.get());
  }
  static v1::GuestConfig Config(const std::vector<std::pair<std::string, std::string>>& consoles) {
    v1::GuestConfig config;
    for (const auto& [device, channels] : consoles) {
      config.add_consoles()->set_device(device);
      config.mutable_consoles()->rbegin()->set_channels(channels);
    }
    return config;
  }
  absl::Status Set(const std::string& spec) {
    std::optional<absl::Status> outcome;
    consoles_->Set(*devices::ParseConsoleSpec(spec), [&](const absl::Status& status) {
      outcome = status;
      loop_->Quit();
    });
    if (!outcome.has_value()) loop_->Run();
    return *outcome;
  }
  std::string Facts() const {
    v1::Facts facts;
    consoles_->AddFacts(&facts);
    std::string text;
    for (const v1::ConsoleFacts& console : facts.consoles()) text += console.name() + "=" + console.channels() + " ";
    return text;
  }

  std::string folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<MconsoleClient> mconsole_;
  std::unique_ptr<FakeMconsole> kernel_;
  std::unique_ptr<Consoles> consoles_;
  Commands seen_;
  std::map<std::string, std::pair<int, std::string>> answers_;
  int deaf_ = 0;  // so many requests get no answer
};

TEST_F(ConsolesTest, TheKernelGetsItsTerminalsAndFourSpares) {
  Boot({{"con2", "pts"}});
  EXPECT_EQ(Facts(), "con0=fd:0,fd:1 con1=fd:0,fd:1 con2=pts ");
  EXPECT_EQ(consoles_->terminals().size(), 7U);
  EXPECT_EQ(consoles_->Find("con0"), consoles_->con0());
  EXPECT_NE(consoles_->Find("con2"), nullptr);
  EXPECT_EQ(consoles_->Find("con3"), nullptr);
  EXPECT_EQ(consoles_->Find("nonsense"), nullptr);
}

TEST_F(ConsolesTest, ALineIsAddedWithASpareAndTakenAwayAgain) {
  Boot({});
  EXPECT_TRUE(Set("con3=fd:0,fd:1").ok());
  EXPECT_THAT(seen_, ElementsAre("config con3=fd:4"));
  EXPECT_NE(consoles_->Find("con3"), nullptr);
  EXPECT_EQ(Facts(), "con0=fd:0,fd:1 con1=fd:0,fd:1 con3=fd:0,fd:1 ");
  EXPECT_TRUE(Set("con3=none").ok());
  EXPECT_EQ(consoles_->Find("con3"), nullptr);
  EXPECT_EQ(Facts(), "con0=fd:0,fd:1 con1=fd:0,fd:1 con3=none ");
  // And back to what it was in the beginning.
  EXPECT_TRUE(Set("con3=null").ok());
  EXPECT_EQ(Facts(), "con0=fd:0,fd:1 con1=fd:0,fd:1 ");
  EXPECT_THAT(seen_, ElementsAre("config con3=fd:4", "remove con3", "config con3=null"));
  EXPECT_EQ(Set("con3=null").code(), absl::StatusCode::kOk);
  EXPECT_EQ(seen_.size(), 3U);
}

TEST_F(ConsolesTest, TheKernelDoesNotNoticeAChangeOfChannels) {
  Boot({});
  Console* con1 = consoles_->Find("con1");
  const int slave = con1->slave();
  for (const char* spec : {"con1=pts", "con1=xterm", "con1=null", "con1=null,fd:1", "con1=fd:0,fd:1"}) {
    EXPECT_TRUE(Set(spec).ok()) << spec;
    EXPECT_THAT(Facts(), HasSubstr(spec));
    EXPECT_EQ(consoles_->Find("con1"), con1);
    EXPECT_EQ(con1->slave(), slave);
  }
  EXPECT_THAT(seen_, ElementsAre());
}

TEST_F(ConsolesTest, AChannelThatCannotBeOpenedLeavesTheOldOne) {
  Boot({{"con1", "pts"}});
  v1::Facts before;
  consoles_->AddFacts(&before);
  absl::Status refused = Set("con1=tty:/dev/null");
  EXPECT_THAT(refused.message(), HasSubstr("/dev/null is no terminal"));
  v1::Facts after;
  consoles_->AddFacts(&after);
  EXPECT_EQ(before.SerializeAsString(), after.SerializeAsString());
  // A line that was not there is not there afterwards either, and its spare can be used.
  EXPECT_FALSE(Set("con5=tty:/dev/null").ok());
  EXPECT_EQ(consoles_->Find("con5"), nullptr);
  EXPECT_THAT(seen_, ElementsAre());
  for (const char* spec : {"con5=pts", "con6=pts", "con7=pts", "ssl0=pts"}) EXPECT_TRUE(Set(spec).ok()) << spec;
  absl::Status none_left = Set("ssl1=pts");
  EXPECT_EQ(none_left.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(none_left).reason, "NO_SPARE_TERMINAL");
  EXPECT_TRUE(Set("con6=none").ok());
  EXPECT_TRUE(Set("ssl1=pts").ok());
}

TEST_F(ConsolesTest, WhatTheKernelRefusesIsUndone) {
  Boot({});
  answers_["config con3=fd:4"] = {-EINVAL, "Device is already open"};
  absl::Status busy = Set("con3=fd:0,fd:1");
  EXPECT_EQ(GetErrorDetail(busy).reason, "DEVICE_BUSY");
  EXPECT_EQ(consoles_->Find("con3"), nullptr);
  EXPECT_EQ(Facts(), "con0=fd:0,fd:1 con1=fd:0,fd:1 ");
  answers_["remove con1"] = {-EINVAL, "Device is already open"};
  EXPECT_EQ(GetErrorDetail(Set("con1=none")).reason, "DEVICE_BUSY");
  EXPECT_NE(consoles_->Find("con1"), nullptr);
  EXPECT_EQ(GetErrorDetail(Set("con0=none")).reason, "CONSOLE_NEEDED");
  EXPECT_EQ(Set("con9=none").code(), absl::StatusCode::kOk);
  EXPECT_EQ(GetErrorDetail(Set("con9=none")).reason, "DEVICE_NOT_PLUGGED");
}

TEST_F(ConsolesTest, AKernelWithoutSerialLinesSaysSo) {
  Boot({});
  answers_["config ssl0=fd:4"] = {1, "Bad configuration option"};
  EXPECT_THAT(Set("ssl0=pts").message(), HasSubstr("Bad configuration option"));
}

TEST_F(ConsolesTest, AKernelThatDoesNotAnswerIsAskedWhatItDid) {
  Boot({});
  deaf_ = 2;  // the request, and its repetition
  answers_["config con3"] = {0, "fd:4"};
  EXPECT_TRUE(Set("con3=fd:0,fd:1").ok());
  EXPECT_NE(consoles_->Find("con3"), nullptr);
  deaf_ = 2;
  answers_["config con4"] = {0, "null"};
  EXPECT_EQ(Set("con4=fd:0,fd:1").code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(consoles_->Find("con4"), nullptr);
}

TEST_F(ConsolesTest, TheNextKernelHasWhatTheConfigurationSays) {
  Boot({{"con2", "pts"}});
  ASSERT_TRUE(Set("con3=fd:0,fd:1").ok());
  ASSERT_TRUE(Set("con1=null").ok());
  Console* con2 = consoles_->Find("con2");
  consoles_->KernelGone("test");
  Boot({{"con2", "pts"}, {"ssl7", "fd:0,fd:1"}});
  EXPECT_EQ(Facts(), "con0=fd:0,fd:1 con1=fd:0,fd:1 con2=pts ssl7=fd:0,fd:1 ");
  EXPECT_EQ(consoles_->Find("con2"), con2);
  EXPECT_EQ(consoles_->Find("con3"), nullptr);
  EXPECT_EQ(consoles_->terminals().size(), 8U);
  EXPECT_TRUE(Set("con3=pts").ok());
  EXPECT_EQ(seen_.back(), "config con3=fd:5");
}

TEST_F(ConsolesTest, AKernelThatEndsInTheMiddleEndsTheChange) {
  Boot({});
  deaf_ = 100;
  std::optional<absl::Status> first, second;
  consoles_->Set(*devices::ParseConsoleSpec("con3=pts"), [&](const absl::Status& status) { first = status; });
  consoles_->Set(*devices::ParseConsoleSpec("con4=pts"), [&](const absl::Status& status) { second = status; });
  consoles_->KernelGone("the kernel has ended");
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_EQ(first->code(), absl::StatusCode::kCancelled);
  mconsole_->Abandon("the kernel has ended");
  deaf_ = 0;
  Boot({});
  EXPECT_EQ(Facts(), "con0=fd:0,fd:1 con1=fd:0,fd:1 ");
  EXPECT_EQ(consoles_->terminals().size(), 6U);
}

TEST_F(ConsolesTest, ABadConfigurationNamesTheConsole) {
  EXPECT_THAT(consoles_->PrepareBoot(Config({{"con4", "tty:/dev/null"}})).message(),
              HasSubstr("console con4: /dev/null is no terminal"));
}

}  // namespace
}  // namespace umld::vmcore
