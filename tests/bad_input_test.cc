// What people get wrong. Each error says what, names the thing, hints at what to do, has its exit code, and leaves
// everything as it was.
#include <signal.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/leftovers.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class BadInput : public SharedHost {
 protected:
  void TearDown() override {
    SharedHost::TearDown();
    host_->Shell("rm -rf *");
  }

  // A running guest web1 and a defined one, web2, with a disk of its own; files of all the wrong kinds.
  static void MakeGuests() {
    ASSERT_TRUE(host_->CreateAndStart("web1"));
    ASSERT_TRUE(host_->Create("web2"));
    ASSERT_TRUE(Ok(host_->Shell("mkdir folder; mkfifo fifo; truncate -s 4M free.img theirs.img; touch empty.img")));
    ASSERT_TRUE(Ok(host_->Run({"plug", "web2", "ubdb=theirs.img"})));
  }

  static CommandResult Create(const std::string& name, std::vector<std::string> more) {
    more.insert(more.begin(), {"create", name});
    return host_->Run(more);
  }
};

TEST_F(BadInput, UnknownGuest) {
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M disk.img")));
  const std::vector<std::vector<std::string>> calls = {
      {"start", "nobody"},
      {"stop", "nobody"},
      {"reboot", "nobody"},
      {"pause", "nobody"},
      {"resume", "nobody"},
      {"kill", "nobody"},
      {"delete", "nobody"},
      {"delete", "--force", "nobody"},
      {"describe", "nobody"},
      {"plug", "nobody", "ubdb=disk.img"},
      {"unplug", "nobody", "ubdb"},
      {"config", "nobody", "ubdb"},
      {"mconsole", "nobody", "version"},
      {"logs", "nobody"},
      {"console", "nobody"},
      {"wait", "nobody"},
      {"rename", "nobody", "other"},
      {"set", "nobody", "--mem", "64M"},
      {"start", "--follow", "nobody"},
  };
  for (const auto& call : calls) {
    SCOPED_TRACE(call[0]);
    EXPECT_TRUE(Refused(host_->Run(call), kNotFound, {"nobody"}));
  }
  EXPECT_THAT(host_->Names(), ElementsAre("web1"));
}

TEST_F(BadInput, NamesTakenAndInvalid) {
  ASSERT_TRUE(host_->Create("web1"));
  EXPECT_TRUE(Refused(Create("web1", {"--image", "tiny"}), kBusyOrExists, {"web1", "already"}));
  const std::string longest(64, 'x');
  for (const std::string& name : {std::string("a b"), std::string(".hidden"), std::string("a/b"), std::string("ä"),
                                  std::string("x;rm"), longest + "x", std::string("a\nb")}) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(Refused(Create(name, {"--image", "tiny"}), kUsage, {"guest name"}));
  }
  EXPECT_THAT(host_->Names(), ElementsAre("web1"));
  // 64 characters are allowed, and such a guest really runs.
  ASSERT_TRUE(host_->CreateAndStart(longest));
  EXPECT_EQ(host_->RunInGuest(longest, "hostname").out, longest + "\n");
  EXPECT_THAT(host_->UmlMconsole({longest, "version"}).out, HasSubstr("OK Linux"));
}

TEST_F(BadInput, WrongState) {
  MakeGuests();
  const Json running = host_->Describe("web1");
  EXPECT_TRUE(Refused(host_->Run({"start", "web1"}), kWrongState, {"web1", "running already"}));
  EXPECT_EQ(host_->Describe("web1"), running);
  EXPECT_TRUE(Refused(host_->Run({"stop", "web2"}), kWrongState, {"web2", "not running", "umlctl start web2"}));
  EXPECT_TRUE(Refused(host_->Run({"kill", "web2"}), kWrongState, {"web2", "not running"}));
  EXPECT_TRUE(Refused(host_->Run({"mconsole", "web2", "version"}), kWrongState, {"web2", "not running"}));
  EXPECT_TRUE(
      Refused(host_->Run({"plug", "web2", "ubdc=free.img", "--live-only"}), kWrongState, {"web2", "not running"}));
  EXPECT_TRUE(Refused(host_->Run({"delete", "web1"}), kWrongState, {"web1", "running", "umlctl stop web1"}));
  EXPECT_EQ(host_->State("web2"), "STOPPED");
}

TEST_F(BadInput, DisksThatAreNone) {
  MakeGuests();
  const std::vector<std::tuple<std::string, Exit, std::string>> wrong = {
      {"missing.img", kNotFound, "missing.img does not exist"},
      {"folder", kUsage, "is a directory"},
      {"fifo", kUsage, "is a FIFO"},
      {"/dev/null", kUsage, "/dev/null"},
      {"/dev/tty", kUsage, "/dev/tty"},
      {"empty.img", kWrongState, "empty"},
      {"free.img/inside", kNotFound, "inside"},
      {"theirs.img", kWrongState, "web2"},
      {"new.cow,missing.img", kNotFound, "missing.img does not exist"},
      {"free.img,theirs.img", kWrongState, "not a COW file"},
      {"", kUsage, "names no file"},
  };
  const Json running = host_->Describe("web1"), stopped = host_->Describe("web2");
  for (const auto& [file, code, text] : wrong) {
    SCOPED_TRACE(file);
    EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "ubdb=" + file}), code, {text}));
    EXPECT_TRUE(Refused(Create("web3", {"--image", "tiny", "--disk", "ubdb=" + file}), code, {text}));
    if (text != "web2") {
      EXPECT_TRUE(Refused(host_->Run({"plug", "web2", "ubdc=" + file}), code, {text}));
    }
  }
  EXPECT_EQ(host_->Describe("web1"), running);
  EXPECT_EQ(host_->Describe("web2"), stopped);
  EXPECT_THAT(host_->Names(), ElementsAre("web1", "web2"));
  EXPECT_EQ(host_->RunInGuest("web1", "ls /sys/block | grep -c ubd").out, "1\n");
  EXPECT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=free.img"})));
}

TEST_F(BadInput, UnitsTakenAndUnitsThereAreNot) {
  MakeGuests();
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M second.img")));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=free.img"})));
  const Json before = host_->Describe("web1");
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "ubdb=second.img"}), kBusyOrExists, {"web1", "ubdb", "unplug"}));
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "ubda=second.img"}), kBusyOrExists, {"ubda"}));
  // The same file once more, under any name.
  ASSERT_TRUE(Ok(host_->Shell("ln -s free.img link.img; ln free.img hard.img")));
  for (const char* same : {"free.img", "link.img", "hard.img"}) {
    EXPECT_TRUE(Refused(host_->Run({"plug", "web1", absl::StrCat("ubdc=", same)}), kWrongState, {"ubdb"})) << same;
    EXPECT_TRUE(Refused(host_->Run({"plug", "web2", absl::StrCat("ubdc=", same)}), kWrongState, {"web1", "ubdb"}))
        << same;
  }
  for (const char* device : {"ubd16", "ubdq", "ubd99", "sda", "ubd"}) {
    SCOPED_TRACE(device);
    EXPECT_TRUE(Refused(host_->Run({"plug", "web1", absl::StrCat(device, "=second.img")}), kUsage, {"ubda to ubdp"}));
    EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", device}), kUsage, {"ubda to ubdp"}));
  }
  EXPECT_TRUE(Refused(host_->Run({"plug", "web1", "ubdxb=second.img"}), kUsage, {"ubdxb"}));
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "ubdp"}), kNotFound, {"web1", "ubdp"}));
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "ubda"}), kWrongState, {"web1", "ubda", "root"}));
  EXPECT_EQ(host_->Describe("web1"), before);
}

TEST_F(BadInput, UnplugOfAMountedDiskSaysWhatToDoInside) {
  MakeGuests();
  ASSERT_TRUE(Ok(host_->Shell("mke2fs -q free.img")));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=free.img"})));
  ASSERT_EQ(host_->RunInGuest("web1", "mount /dev/ubdb /mnt && echo precious > /mnt/file").exit_code, 0);
  const Json before = host_->Describe("web1");
  EXPECT_TRUE(Refused(host_->Run({"unplug", "web1", "ubdb"}), kWrongState, {"web1", "ubdb", "umount"}));
  EXPECT_EQ(host_->RunInGuest("web1", "cat /mnt/file").out, "precious\n");
  EXPECT_EQ(host_->Describe("web1")["disks"], before["disks"]);
  ASSERT_EQ(host_->RunInGuest("web1", "umount /mnt").exit_code, 0);
  EXPECT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
  EXPECT_THAT(host_->Shell("debugfs -R 'cat /file' free.img").out, HasSubstr("precious"));
}

TEST_F(BadInput, MemoryTooSmall) {
  host_->BuildTiny();
  for (const char* memory : {"8M", "1", "0", "31M"}) {
    EXPECT_TRUE(Refused(Create("small", {"--image", "tiny", "--mem", memory}), kUsage, {"32M"})) << memory;
  }
  for (const char* memory : {"lots", "-64M", "64Q", "99999999T"}) {
    EXPECT_TRUE(Refused(Create("small", {"--image", "tiny", absl::StrCat("--mem=", memory)}), kUsage, {})) << memory;
  }
  EXPECT_THAT(host_->Names(), IsEmpty());
  ASSERT_TRUE(host_->Create("web1"));
  EXPECT_TRUE(Refused(host_->Run({"set", "web1", "--mem", "8M"}), kUsage, {"web1", "32M"}));
  EXPECT_EQ(host_->Describe("web1")["memory_bytes"], uint64_t{64} << 20);
}

TEST_F(BadInput, KernelsThatAreNone) {
  ASSERT_TRUE(host_->Create("web1"));
  ASSERT_TRUE(
      Ok(host_->Shell("cp /usr/bin/linux.uml plain && chmod 644 plain; echo '#!/bin/sh' > script; chmod 755 script; "
                      "head -c 200 /usr/bin/linux.uml > cut; chmod 755 cut; mkfifo fifo; chmod 755 fifo")));
  const std::vector<std::tuple<std::string, Exit, std::string>> wrong = {
      {"./missing", kNotFound, "missing does not exist"},
      {"./plain", kDenied, "not executable"},
      {"/bin/true", kUsage, "not a UML kernel"},
      {"./script", kUsage, "not a UML kernel"},
      {"./cut", kUsage, "not a UML kernel"},
      {"/tmp", kUsage, "not a UML kernel"},
      {"./fifo", kUsage, "not a UML kernel"},
  };
  for (const auto& [kernel, code, text] : wrong) {
    SCOPED_TRACE(kernel);
    EXPECT_TRUE(Refused(Create("web2", {"--image", "tiny", "--kernel", kernel}), code,
                        {text, kernel.substr(kernel.rfind('/') + 1)}));
    EXPECT_TRUE(Refused(host_->Run({"set", "web1", "--kernel", kernel}), code, {"web1", text}));
  }
  EXPECT_THAT(host_->Names(), ElementsAre("web1"));
  // One that was good when the guest was made.
  ASSERT_TRUE(Ok(host_->Shell("cp /usr/bin/linux.uml mine")));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--kernel", "./mine"})));
  ASSERT_TRUE(Ok(host_->Shell("rm mine")));
  EXPECT_TRUE(Refused(host_->Run({"start", "web1"}), kNotFound, {"web1", "mine does not exist"}));
  EXPECT_EQ(host_->State("web1"), "STOPPED");
  ASSERT_TRUE(Ok(host_->Shell("cp /usr/bin/linux.uml mine")));
  EXPECT_TRUE(Ok(host_->Run({"start", "web1"})));
}

TEST_F(BadInput, ImagesThatAreNot) {
  EXPECT_TRUE(Refused(Create("web1", {"--image", "nope"}), kNotFound, {"nope", "umlctl image list"}));
  EXPECT_TRUE(Refused(host_->Run({"image", "build", "enormous"}), kUsage, {"enormous", "tiny"}));
  EXPECT_TRUE(Refused(host_->Run({"image", "describe", "nope"}), kNotFound, {"nope"}));
  EXPECT_TRUE(Refused(host_->Run({"image", "delete", "nope"}), kNotFound, {"nope"}));
  host_->BuildTiny();
  EXPECT_TRUE(Refused(host_->Run({"image", "build", "tiny"}), kBusyOrExists, {"tiny"}));
  // An image whose file somebody has removed.
  ASSERT_TRUE(Ok(host_->Run({"image", "build", "tiny", "--name", "lost"})));
  const std::string path = Json::parse(host_->Run({"image", "describe", "lost", "-o", "json"}).out)["path"];
  ASSERT_TRUE(Ok(host_->Shell("rm " + path)));
  EXPECT_TRUE(Refused(Create("web1", {"--image", "lost"}), kNotFound, {"lost"}));
  EXPECT_THAT(host_->Names(), IsEmpty());
  EXPECT_TRUE(Ok(host_->Run({"image", "delete", "lost"})));
}

TEST_F(BadInput, KernelArgumentsThatAreUmlds) {
  host_->BuildTiny();
  for (const char* argument : {"umid=x", "mem=8M", "con1=xterm", "uml_dir=/tmp", "mconsole=notify:x",
                               "ubdb=/etc/passwd", "noreboot", "two words"}) {
    EXPECT_TRUE(Refused(Create("web1", {"--image", "tiny", "--arg", argument}), kUsage, {argument})) << argument;
  }
  EXPECT_THAT(host_->Names(), IsEmpty());
}

TEST_F(BadInput, DiskFiles) {
  ASSERT_TRUE(Ok(host_->Shell("echo mine > taken")));
  EXPECT_TRUE(Refused(host_->Run({"disk", "create", "taken", "--size", "1M"}), kBusyOrExists, {"taken"}));
  EXPECT_EQ(host_->Shell("cat taken").out, "mine\n");
  EXPECT_TRUE(Refused(host_->Run({"disk", "create", "nowhere/disk", "--size", "1M"}), kNotFound, {"nowhere"}));
  EXPECT_TRUE(Refused(host_->Run({"disk", "create", "none", "--size", "0"}), kUsage, {}));
  EXPECT_TRUE(Refused(host_->Run({"disk", "create", "none", "--size", "much"}), kUsage, {"much"}));
  EXPECT_TRUE(Refused(host_->Run({"disk", "create", "none", "--size", "8E"}), kUsage, {}));
  EXPECT_EQ(host_->Shell("ls").out, "taken\n");
}

TEST_F(BadInput, WhatIsNoCommand) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                {"frobnicate"},
                                                {"create", "a", "b"},
                                                {"plug", "web1"},
                                                {"start", "--frob", "x"},
                                                {"list", "-o", "xml"},
                                                {"stop", "web1", "--timeout", "soon"},
                                                {"wait", "web1", "--for", "christmas"}}) {
    const CommandResult result = host_->Run(words);
    EXPECT_TRUE(Refused(result, kUsage, {})) << testing::PrintToString(words);
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(BadInput, FourThousandBytesOfDeviceSpec) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  const Json before = host_->Describe("web1");
  const std::string long_name(4000, 'a'), long_path = "/" + std::string(250, 'b') + std::string(3748, '/') + "c";
  for (const std::string& spec :
       {"ubdb=" + long_name, "ubdb=" + long_path, "ubdb=a," + long_path, long_name, "ubdb=a,b," + long_name}) {
    const CommandResult plug = host_->Run({"plug", "web1", spec});
    EXPECT_NE(plug.exit_code, 0);
    EXPECT_THAT(plug.exit_code, testing::AnyOf(kUsage, kNotFound));
    EXPECT_THAT(plug.err, AllOf(HasSubstr("error: "), HasSubstr("hint:  ")));
    // Somebody must be able to read it.
    EXPECT_LT(plug.err.size(), 1500u) << plug.err;
    EXPECT_NE(host_->Run({"mconsole", "web1", "config", spec}).exit_code, 0);
  }
  EXPECT_NE(host_->Run({"config", "web1", long_name}).exit_code, 0);
  EXPECT_NE(host_->Run({"unplug", "web1", long_name}).exit_code, 0);
  const CommandResult command = host_->Run({"mconsole", "web1", "log", long_name});
  EXPECT_THAT(command.exit_code, testing::AnyOf(kSaidNo, kUsage)) << command;
  // More than a packet to its supervisor may have.
  EXPECT_TRUE(Refused(host_->Run({"mconsole", "web1", "log", std::string(100'000, 'x')}), kUsage, {"511"}));
  EXPECT_EQ(host_->Describe("web1"), before);
  EXPECT_EQ(host_->RunInGuest("web1", "echo alive").out, "alive\n");
}

TEST_F(BadInput, AClientKilledInTheMiddleOfACall) {
  host_->BuildTiny();
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M free.img")));
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  auto killed = [&](const std::vector<std::string>& words, int most) {
    std::unique_ptr<Running> client = host_->RunBeside(words);
    absl::SleepFor(absl::Milliseconds(random() % most));
    client->Signal(SIGKILL);
    client->Wait();
  };
  auto settled = [] { return host_->Run({"operations", "list", "--unfinished", "-o", "name"}).out.empty(); };
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    killed({"create", "web1", "--image", "tiny", "--mem", "64M"}, 100);
    if (host_->State("web1") == "NONE") {
      ASSERT_TRUE(host_->Create("web1"));
    }
    killed({"start", "web1"}, 700);
    ASSERT_TRUE(WaitFor(settled));
    // Asked for is done, though nobody waits: or it was never asked.
    if (host_->State("web1") != "RUNNING") {
      EXPECT_EQ(host_->State("web1"), "STOPPED");
      ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
    }
    killed({"plug", "web1", "ubdb=free.img"}, 150);
    ASSERT_TRUE(WaitFor(settled));
    const Json disk = DiskOf(host_->Describe("web1"), "ubdb");
    EXPECT_EQ(host_->RunInGuest("web1", "test -e /sys/block/ubdb").exit_code == 0, !disk.is_null());
    killed({"stop", "web1"}, 700);
    ASSERT_TRUE(WaitFor(settled));
    EXPECT_THAT(host_->State("web1"), testing::AnyOf("STOPPED", "RUNNING"));
    ASSERT_TRUE(Ok(host_->Run({"delete", "--force", "web1"})));
    EXPECT_EQ(Describe(ProcessesOf(host_->run_dir() + "/guests")), "");
  }
}

}  // namespace
}  // namespace umld::tests
