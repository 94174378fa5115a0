// Events: what happened to a guest, in order, kept over restarts, and followed live.
#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;

using Events = SharedHost;

// "guest.state RUNNING", "disk.plugged".
std::vector<std::string> Short(const std::vector<Json>& events) {
  std::vector<std::string> lines;
  for (const Json& event : events) {
    const std::string state = event.value("state", "");
    const bool has_state = event["type"] == "guest.state";
    lines.push_back(absl::StrCat(event["type"].get<std::string>(), has_state ? " " + state : ""));
  }
  return lines;
}

std::vector<Json> Parse(const std::string& text) {
  std::vector<Json> events;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n', absl::SkipEmpty()))) {
    events.push_back(Json::parse(line, nullptr, /*allow_exceptions=*/false));
    EXPECT_TRUE(events.back().is_object()) << line;
  }
  return events;
}

TEST_F(Events, AGuestsLifeInOrder) {
  host_->BuildTiny();
  std::unique_ptr<Running> follower = host_->RunBeside({"events", "-f", "-o", "json"});
  // It says nothing when it has begun: a guest that comes and goes until it is seen shows it.
  ASSERT_TRUE(WaitFor([&] {
    host_->Create("probe");
    host_->Run({"delete", "probe"});
    return follower->ReadUntil("probe", absl::Milliseconds(200));
  }));
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M disk.img")));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=disk.img"})));
  ASSERT_TRUE(Ok(host_->Run({"pause", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"resume", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--description", "a web server"})));
  EXPECT_EQ(host_->RunInGuest("web1", "echo -n hello from inside > /proc/mconsole").exit_code, 0);
  ASSERT_TRUE(follower->ReadUntil("hello from inside")) << follower->out();
  // What is no text would make the event unreadable to every client, now and whenever events are asked for.
  EXPECT_EQ(host_->RunInGuest("web1", "printf 'no\\377\\033text' > /proc/mconsole").exit_code, 0);
  ASSERT_TRUE(follower->ReadUntil("no??text")) << follower->out();
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  ASSERT_TRUE(Ok(host_->Run({"rename", "web1", "web2"})));
  ASSERT_TRUE(Ok(host_->Run({"delete", "web2"})));
  const std::vector<std::string> wanted = {
      "guest.created",        "guest.state STARTING", "guest.state RUNNING", "disk.plugged",  "guest.state PAUSED",
      "guest.state RUNNING",  "disk.unplugged",       "guest.updated",       "guest.message", "guest.message",
      "guest.state STOPPING", "guest.state STOPPED",  "guest.renamed",       "guest.deleted"};
  ASSERT_TRUE(follower->ReadUntil([&](const std::string& out) {
    return absl::StrContains(out, "guest.renamed") &&
           absl::StrContains(out.substr(out.find("guest.renamed")), "deleted");
  })) << follower->out();

  std::vector<Json> followed;
  for (const Json& event : Parse(follower->out())) {
    if (!absl::StrContains(event["subject"].get<std::string>(), "probe")) followed.push_back(event);
  }
  EXPECT_THAT(Short(followed), testing::ElementsAreArray(wanted));
  for (size_t i = 1; i < followed.size(); ++i) EXPECT_GT(followed[i]["sequence"], followed[i - 1]["sequence"]);
  EXPECT_EQ(followed[3]["subject"], "guests/web1/disks/ubdb");
  EXPECT_THAT(followed[3]["message"].get<std::string>(), HasSubstr(host_->Work("disk.img")));
  EXPECT_EQ(followed[8]["message"], "hello from inside");
  EXPECT_THAT(followed[12]["message"].get<std::string>(), HasSubstr("web2"));

  // What is kept is what was followed; of one guest alone, its own.
  std::vector<Json> kept = host_->Events();
  EXPECT_THAT(kept, IsSupersetOf(followed));
  for (const Json& event : host_->Events("web1")) {
    EXPECT_TRUE(absl::StartsWith(event["subject"].get<std::string>(), "guests/web1")) << event;
  }
  // And a kill of umld takes none away.
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_THAT(host_->Events(), IsSupersetOf(kept));
}

TEST_F(Events, ForPeople) {
  ASSERT_TRUE(host_->Create("web1"));
  const CommandResult events = host_->Run({"events", "web1"});
  ASSERT_TRUE(Ok(events));
  EXPECT_THAT(events.out, testing::ContainsRegex("TIME +TYPE +SUBJECT +MESSAGE\n"));
  EXPECT_THAT(events.out, testing::ContainsRegex("20[0-9-]+ [0-9:]+ +guest.created +guests/web1"));
  EXPECT_TRUE(Ok(host_->Run({"events", "never-was"})));
}

TEST_F(Events, OneGuestIsFollowedAlone) {
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(host_->Create("web2"));
  std::unique_ptr<Running> follower = host_->RunBeside({"events", "-f", "web1", "-o", "json"});
  int tries = 0;
  ASSERT_TRUE(WaitFor([&] {
    host_->Run({"set", "web2", "--description", absl::StrCat(++tries)});
    host_->Run({"set", "web1", "--description", absl::StrCat(tries)});
    return follower->ReadUntil("guest.updated", absl::Milliseconds(200));
  }));
  for (const Json& event : Parse(follower->out())) EXPECT_EQ(event["subject"], "guests/web1");
  // A follower that is asked to end does.
  follower->Signal(SIGINT);
  EXPECT_TRUE(follower->Wait().has_value());
}

TEST_F(Events, OperationsAreToldToo) {
  ASSERT_TRUE(Ok(host_->Run({"create", "bare", "--mem", "64M"})));
  host_->Run({"start", "bare"});
  ASSERT_TRUE(host_->WaitForState("bare", "CRASHED"));
  const Json list = Json::parse(host_->Run({"operations", "list", "-o", "json"}).out);
  ASSERT_FALSE(list.empty());
  EXPECT_EQ(list[0]["verb"], "start");
  EXPECT_EQ(list[0]["target"], "guests/bare");
  EXPECT_EQ(list[0]["done"], true);
  const std::string id = list[0]["name"].get<std::string>();
  EXPECT_THAT(host_->Run({"operations", "describe", id.substr(id.find('/') + 1)}).out, HasSubstr("guests/bare"));
  EXPECT_TRUE(Refused(host_->Run({"operations", "describe", "999999"}), kNotFound, {"999999"}));
}

}  // namespace
}  // namespace umld::tests
