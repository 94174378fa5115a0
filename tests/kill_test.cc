// umld killed with -9 at 20 random moments while five guests are created, started, plugged, stopped and deleted:
// afterwards wishes and facts agree, what was acknowledged is there, and nothing is stray.
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/process.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

constexpr int kRounds = 20;
constexpr int kGuests = 5;

using Kill = SharedHost;

std::string Guest(int number) { return absl::StrCat("g", number); }

// What may sensibly be asked of a guest in this state.
std::vector<std::string> NextWords(const Host& host, int number, std::mt19937& random) {
  const std::string name = Guest(number), state = host.State(name);
  const std::string disk = absl::StrCat("data", number, ".img");
  if (state == "NONE") return {"create", name, "--image", "tiny", "--mem", "64M"};
  if (state == "RUNNING") {
    if (DiskOf(host.Describe(name), "ubdb").is_null()) {
      if (random() % 3 != 0) return {"plug", name, "ubdb=" + disk};
    } else if (random() % 3 == 0) {
      return {"unplug", name, "ubdb"};
    }
    return random() % 3 == 0 ? std::vector<std::string>{"reboot", "--now", name}
                             : std::vector<std::string>{"stop", "--now", name};
  }
  if (random() % 5 == 0) return {"delete", name};
  return {"start", name};
}

// The wish and the fact of one guest, compared.
void ExpectAgreement(const Host& host, const std::string& name) {
  const Json guest = host.Describe(name);
  ASSERT_FALSE(guest.is_null());
  const std::string state = guest["state"];
  SCOPED_TRACE(absl::StrCat(name, " is ", state));
  EXPECT_TRUE(state == "RUNNING" || state == "STOPPED") << guest.dump(2);
  const std::string folder = absl::StrCat(host.run_dir(), "/guests/", guest["id"].get<int>());
  const std::vector<ProcessInfo> processes = ProcessesOf(folder);
  if (state != "RUNNING") {
    EXPECT_TRUE(processes.empty()) << Describe(processes);
    EXPECT_EQ(guest["wanted_running"], false);
    return;
  }
  EXPECT_EQ(guest["wanted_running"], true);
  const pid_t kernel = guest["processes"]["kernel_pid"];
  const absl::StatusOr<ProcessIdentity> identity = IdentifyProcess(kernel);
  EXPECT_TRUE(identity.ok() && IsAlive(*identity)) << "its kernel, " << kernel << ", is not there";
  for (const Json& disk : guest["disks"]) {
    EXPECT_EQ(disk["plugged"], true) << disk.dump();
    EXPECT_EQ(disk["persistent"], true) << disk.dump();
  }
  const bool has_disk = !DiskOf(guest, "ubdb").is_null();
  EXPECT_EQ(host.RunInGuest(name, "test -e /sys/block/ubdb").exit_code == 0, has_disk);
}

// What umlctl acknowledged before or after the kill.
void ExpectDone(const Host& host, const std::vector<std::string>& words) {
  const std::string &verb = words[0], &name = words[1] == "--now" ? words[2] : words[1];
  const std::string state = host.State(name);
  if (verb == "create" || verb == "stop") {
    EXPECT_EQ(state, "STOPPED");
  } else if (verb == "start" || verb == "reboot") {
    EXPECT_EQ(state, "RUNNING");
  } else if (verb == "delete") {
    EXPECT_EQ(state, "NONE");
  } else {
    EXPECT_EQ(!DiskOf(host.Describe(name), "ubdb").is_null(), verb == "plug");
  }
}

TEST_F(Kill, WishesAndFactsAgreeAfterwards) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  host_->BuildTiny();
  for (int number = 0; number < kGuests; ++number) {
    ASSERT_TRUE(Ok(host_->Run({"disk", "create", absl::StrCat("data", number, ".img"), "--size", "4M"})));
  }
  std::map<std::string, int> acknowledged;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    std::map<int, std::vector<std::string>> asked;
    for (int number = 0; number < kGuests; ++number) asked[number] = NextWords(*host_, number, random);
    std::map<int, std::unique_ptr<Running>> running;
    for (const auto& [number, words] : asked) running[number] = host_->RunBeside(words);
    // From before the first request is heard to after the quick ones are done.
    absl::SleepFor(absl::Milliseconds(random() % (round % 2 == 0 ? 60 : 1500)));
    host_->Kill9();
    ASSERT_TRUE(host_->Start());
    for (const auto& [number, words] : asked) {
      const std::optional<int> exit_code = running[number]->Wait();
      ASSERT_TRUE(exit_code.has_value()) << "umlctl does not come back: " << words[0] << " of " << Guest(number);
    }
    ASSERT_TRUE(WaitFor([&] {
      return host_->Run({"operations", "list", "--unfinished", "-o", "name"}).out.empty();
    })) << host_->Run({"operations", "list"}).out;
    std::set<std::string> names;
    for (const std::string& name : host_->Names()) names.insert(name);
    for (const auto& [number, words] : asked) {
      SCOPED_TRACE(absl::StrCat("umlctl ", words[0], " of ", Guest(number), ": ", *running[number]->Wait(), "\n",
                                running[number]->err()));
      if (*running[number]->Wait() == kOk) {
        ++acknowledged[words[0]];
        ExpectDone(*host_, words);
      }
      if (names.count(Guest(number)) != 0) ExpectAgreement(*host_, Guest(number));
    }
    if (HasFailure()) break;
  }
  EXPECT_GT(acknowledged["start"], 0) << "no start was ever acknowledged: the rounds are too short to say anything";
  // The database is whole.
  EXPECT_EQ(host_->Shell("sqlite3 '" + host_->state_dir() + "/umld.db' 'pragma integrity_check'").out, "ok\n");
}

}  // namespace
}  // namespace umld::tests
