// The fast kernel: built from Debian's source, twice the same, and everything run on it that it promises: the tiny
// image from 32 MiB, a COW file with single sectors written, Debian with systemd, and what containers need.
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;

// On two processors a build takes nine minutes when nothing else runs.
constexpr absl::Duration kBuildPatience = absl::Minutes(30);

class FastKernel : public SharedHost {
 protected:
  static void SetUpTestSuite() {
    SharedHost::SetUpTestSuite();
    ASSERT_EQ(host_->RunBeside({"kernel", "build"})->Wait(kBuildPatience), 0) << host_->Log();
    host_->BuildTiny();
  }
};

TEST_F(FastKernel, IsTheDefaultAndIsNotBuiltTwice) {
  const Json kernel = Json::parse(host_->Run({"kernel", "describe", "fast", "-o", "json"}).out);
  EXPECT_EQ(kernel["is_default"], true);
  EXPECT_THAT(std::string(kernel["version"]), HasSubstr("-umld"));
  EXPECT_THAT(std::string(kernel["description"]), HasSubstr("build "));
  // At once.
  ASSERT_TRUE(Ok(host_->Run({"kernel", "default", "system"})));
  EXPECT_TRUE(Ok(host_->Run({"kernel", "build"})));
  EXPECT_EQ(Json::parse(host_->Run({"kernel", "describe", "fast", "-o", "json"}).out)["is_default"], true);
}

TEST_F(FastKernel, TheSameSourceMakesTheSameBytes) {
  auto again = host_->RunBeside({"kernel", "build", "again", "--keep-default"});
  ASSERT_EQ(again->Wait(kBuildPatience), 0) << host_->Log();
  const auto digest = [](const char* name) -> std::string {
    return Json::parse(host_->Run({"kernel", "describe", name, "-o", "json"}).out)["sha256"];
  };
  EXPECT_EQ(digest("fast"), digest("again"));
}

TEST_F(FastKernel, RunsTinyFrom32M) {
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(host_->CreateAndStart(absl::StrCat("small", i), {"--mem", "32M"}));
    EXPECT_THAT(host_->RunInGuest(absl::StrCat("small", i), "uname -r").out, HasSubstr("-umld"));
  }
}

TEST_F(FastKernel, ReadsCowFilesRightly) {
  ASSERT_TRUE(Ok(host_->Shell("head -c 1M /dev/urandom >backing")));
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=cow,backing"}));
  // One sector of a page, and then a long read.
  EXPECT_EQ(host_
                ->RunInGuest("web1",
                             "dd if=/dev/zero of=/dev/ubdb bs=512 seek=9 count=1 oflag=direct 2>/dev/null && "
                             "dd if=/dev/ubdb of=/dev/null bs=256k 2>/dev/null && echo done")
                .out,
            "done\n");
  ASSERT_TRUE(Ok(host_->Shell("cp backing model && dd if=/dev/zero of=model bs=512 seek=9 count=1 conv=notrunc")));
  EXPECT_EQ(host_->RunInGuest("web1", "echo 3 >/proc/sys/vm/drop_caches; sha256sum </dev/ubdb | cut -c 1-64").out,
            host_->Shell("sha256sum <model | cut -c 1-64").out);
  // So nobody is warned of what other kernels may misread.
  ASSERT_TRUE(Ok(host_->Shell("mke2fs -q -F -b 1024 small.img 8M")));
  EXPECT_EQ(host_->Run({"plug", "web1", "ubdc=small.cow,small.img"}).err, "");
  EXPECT_EQ(DiskOf(host_->Describe("web1"), "ubdc")["risk"], "");
}

TEST_F(FastKernel, RunsDebianAndWhatContainersNeed) {
  auto built = host_->RunBeside({"image", "build", "debian", "--include", "nftables"});
  ASSERT_EQ(built->Wait(absl::Minutes(10)), 0) << host_->Log();
  ASSERT_TRUE(Ok(host_->Run({"create", "web1", "--image", "debian", "--mem", "256M"})));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  const auto in_guest = [&](const std::string& command) {
    return host_->RunInGuest("web1", command, absl::Minutes(5)).out;
  };
  EXPECT_THAT(in_guest("uname -r"), HasSubstr("-umld"));
  EXPECT_THAT(in_guest("systemctl is-system-running --wait"), HasSubstr("running"));
  EXPECT_EQ(in_guest("systemctl --failed --no-legend | wc -l"), "0\n");
  EXPECT_EQ(in_guest("stat -f -c %T /sys/fs/cgroup"), "cgroup2fs\n");
  EXPECT_THAT(in_guest("cat /sys/fs/cgroup/cgroup.controllers"), HasSubstr("memory pids"));
  EXPECT_EQ(in_guest("systemd-run --wait -q -p MemoryMax=20M -p TasksMax=20 true && echo limits"), "limits\n");
  EXPECT_EQ(in_guest("mkdir -p /tmp/o/l /tmp/o/u /tmp/o/w /tmp/o/m && touch /tmp/o/l/file && mount -t overlay o -o "
                     "lowerdir=/tmp/o/l,upperdir=/tmp/o/u,workdir=/tmp/o/w /tmp/o/m && ls /tmp/o/m"),
            "file\n");
  EXPECT_EQ(in_guest("unshare --user --map-root-user --pid --fork --mount-proc --net --uts --ipc --cgroup id -u"),
            "0\n");
  EXPECT_EQ(
      in_guest("ip link add v0 type veth peer name v1 && ip link add br0 type bridge && ip link set v0 master br0 "
               "&& echo linked"),
      "linked\n");
  EXPECT_EQ(
      in_guest("nft add table inet t && nft 'add chain inet t c { type nat hook postrouting priority 100; }' && nft "
               "add rule inet t c ip6 daddr ::1 counter masquerade && nft add rule inet t c ip protocol tcp "
               "counter && nft list table inet t | grep -c counter"),
      "2\n");
  EXPECT_EQ(in_guest("ping -6 -c 1 -q ::1 >/dev/null && echo pong"), "pong\n");
  EXPECT_TRUE(Ok(host_->Run({"stop", "web1"})));
}

}  // namespace
}  // namespace umld::tests
