// umld killed with -9 at 20 random moments while five guests are created, started, plugged, unplugged, stopped and
// deleted. After each: what the user was told holds, wishes (the database, the list) and facts (processes, the guests'
// own view) agree, nothing is lost and nothing is stray. UMLD_KILL_SEED repeats a run.
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"

namespace umld::tests {
namespace {

constexpr int kRounds = 20;
const char* const kNames[] = {"g0", "g1", "g2", "g3", "g4"};

// One umlctl that is under way when umld dies.
struct Call {
  std::string guest;
  std::string verb;
  std::unique_ptr<Running> client;
};

class KillTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* given = std::getenv("UMLD_KILL_SEED");
    seed_ = given == nullptr ? std::random_device{}() : static_cast<unsigned>(std::stoul(given));
    random_.seed(seed_);
    std::cerr << "UMLD_KILL_SEED=" << seed_ << "\n";
    ASSERT_TRUE(host_.Start());
    host_.BuildTiny();
    for (const char* name : kNames) {
      ASSERT_TRUE(Ok(host_.Run({"disk", "create", absl::StrCat(name, ".img"), "--size", "4M"})));
    }
  }

  int Random(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }

  // Something that makes sense for the guest as it is.
  std::vector<std::string> Choose(const std::string& name) {
    const Json guest = host_.Describe(name);
    if (guest.is_null()) return {"create", name, "--image", "tiny", "--mem", "64M"};
    const bool has_disk = !DiskOf(guest, "ubdb").is_null();
    const std::vector<std::string> change =
        has_disk ? std::vector<std::string>{"unplug", name, "ubdb"}
                 : std::vector<std::string>{"plug", name, absl::StrCat("ubdb=", name, ".img")};
    const int dice = Random(10);
    if (guest["state"] != "RUNNING") {
      if (dice < 6) return {"start", name};
      return dice < 8 ? change : std::vector<std::string>{"delete", name};
    }
    if (dice < 5) return change;
    if (dice < 7) return {"stop", "--now", name};
    return dice < 9 ? std::vector<std::string>{"stop", name} : std::vector<std::string>{"kill", name};
  }

  // What a call that succeeded promises.
  void ExpectKept(const Call& call) {
    const Json guest = host_.Describe(call.guest);
    if (call.verb == "delete") {
      EXPECT_TRUE(guest.is_null()) << "a deleted guest is back";
      return;
    }
    ASSERT_FALSE(guest.is_null()) << "a guest is lost";
    if (call.verb == "start") {
      EXPECT_EQ(guest["state"], "RUNNING");
    }
    if (call.verb == "stop" || call.verb == "kill") {
      EXPECT_EQ(guest["state"], "STOPPED");
    }
    if (call.verb == "plug") {
      EXPECT_FALSE(DiskOf(guest, "ubdb").is_null()) << "a plugged disk is lost";
    }
    if (call.verb == "unplug") {
      EXPECT_TRUE(DiskOf(guest, "ubdb").is_null()) << "an unplugged disk is back";
    }
  }

  std::vector<std::string> Query(const std::string& sql) {
    const CommandResult rows = RunToEnd(host_.MakeCommand({"sqlite3", host_.state_dir() + "/umld.db", sql}));
    EXPECT_TRUE(Ok(rows));
    return absl::StrSplit(rows.out, '\n', absl::SkipEmpty());
  }

  void ExpectWishesAndFactsAgree() {
    const std::vector<std::string> names = host_.Names();
    EXPECT_EQ(Query("SELECT name FROM guests ORDER BY name"), names);
    std::vector<std::string> disks_told;
    std::set<std::string> run_folders, ids;
    for (const std::string& name : names) {
      SCOPED_TRACE(name);
      const Json guest = host_.Describe(name);
      ids.insert(absl::StrCat(guest["id"].get<int>()));
      EXPECT_THAT(guest["state"], testing::AnyOf("RUNNING", "STOPPED")) << host_.Run({"describe", name});
      EXPECT_EQ(guest["operation"], "");
      for (const Json& disk : guest["disks"]) {
        EXPECT_EQ(disk["plugged"].get<bool>(), guest["state"] == "RUNNING") << disk;
        disks_told.push_back(absl::StrCat(name, "|", disk["path"].get<std::string>()));
      }
      if (guest["state"] != "RUNNING") continue;
      run_folders.insert(guest["processes"]["runtime_directory"]);
      // The guest's own word on its disks.
      const GuestResult own = host_.RunInGuest(name, "ls /sys/block | grep ubd | tr '\\n' ' '");
      EXPECT_EQ(own.out, DiskOf(guest, "ubdb").is_null() ? "ubda " : "ubda ubdb ");
      int kernels = 0;
      for (const ProcessInfo& process : ProcessesOf(guest["processes"]["runtime_directory"])) {
        kernels += process.parent == guest["processes"]["init_pid"];
      }
      EXPECT_EQ(kernels, 1);
    }
    EXPECT_EQ(Query("SELECT g.name, d.path FROM disks d JOIN guests g ON g.id = d.guest_id ORDER BY g.name, d.unit"),
              disks_told);
    // No process and no folder that belongs to nobody.
    for (const ProcessInfo& process : ProcessesOf(host_.run_dir() + "/guests")) {
      EXPECT_EQ(run_folders.count(process.folder), 1u) << "stray: " << Describe(process);
    }
    for (const ProcessInfo& process : AdoptedProcesses()) {
      EXPECT_EQ(run_folders.count(process.folder), 1u) << "stray: " << Describe(process);
    }
    for (const std::string& file : FilesUnder(host_.state_dir() + "/guests")) {
      EXPECT_EQ(ids.count(file.substr(0, file.find('/'))), 1u) << "of no guest: " << file;
    }
  }

  unsigned seed_ = 0;
  std::mt19937 random_;
  Host host_;
  std::map<std::string, int> told_;  // how often "verb: exit code"
};

TEST_F(KillTest, NothingIsLostAndNothingIsStray) {
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    std::vector<Call> calls;
    std::string story;
    for (const char* name : kNames) {
      const std::vector<std::string> words = Choose(name);
      absl::StrAppend(&story, absl::StrJoin(words, " "), "\n");
      calls.push_back({name, words[0], host_.RunBeside(words)});
    }
    const int delay = Random(Random(2) == 0 ? 150 : 1500);
    absl::SleepFor(absl::Milliseconds(delay));
    host_.Kill9();
    ASSERT_TRUE(host_.Start());
    SCOPED_TRACE(absl::StrCat("UMLD_KILL_SEED=", seed_, " round ", round, ", killed after ", delay, " ms of\n", story));
    for (Call& call : calls) {
      ASSERT_TRUE(call.client->Wait().has_value()) << "umlctl " << call.verb << " " << call.guest << " does not end";
    }
    ASSERT_TRUE(WaitFor([&] {
      return host_.Run({"operations", "list", "--unfinished", "-o", "name"}).out.empty();
    })) << host_.Run({"operations", "list", "--unfinished"});
    for (Call& call : calls) {
      const int exit_code = *call.client->Wait();
      SCOPED_TRACE(
          absl::StrCat("umlctl ", call.verb, " ", call.guest, ": exit code ", exit_code, "\n", call.client->err()));
      ++told_[absl::StrCat(call.verb, ": ", exit_code)];
      if (exit_code == 0) {
        ExpectKept(call);
      } else {
        // Cut off, and said so: nobody is told that something is wrong with the guest.
        EXPECT_THAT(exit_code, testing::AnyOf(kBusyOrExists, kUnreachable, kNotFound, kWrongState));
        EXPECT_THAT(call.client->err(), testing::HasSubstr("hint:  "));
      }
    }
    ExpectWishesAndFactsAgree();
  }
  for (const auto& [what, times] : told_) std::cerr << what << " (" << times << " times)\n";
}

}  // namespace
}  // namespace umld::tests
