// What UML's own documentation shows of a running machine, command for command, with the stock uml_mconsole: its
// consoles asked and changed, swap plugged and used, a disk partitioned, an archive read straight from a device, a
// network card added. In a network namespace of the test's own.
#include <sched.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/guest_login.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class SeedTranscript : public SharedHost {
 protected:
  static void SetUpTestSuite() {
    if (getuid() != 0) return;
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    SharedHost::SetUpTestSuite();
    ASSERT_TRUE(Ok(host_->Shell("ip link set lo up")));
  }
  void SetUp() override {
    SharedHost::SetUp();
    if (host_ == nullptr) return;
    ASSERT_TRUE(host_->CreateAndStart("debian"));
  }
  void TearDown() override {
    SharedHost::TearDown();
    if (host_ != nullptr) host_->Shell("rm -rf *");
  }
  static std::string Mconsole(const std::string& command) { return host_->UmlMconsole({"debian", command}).out; }
  // In the guest; must succeed.
  static std::string Inside(const std::string& command) {
    const GuestResult result = host_->RunInGuest("debian", command);
    EXPECT_EQ(result.exit_code, 0) << command << "\n" << result;
    return result.out;
  }
};

TEST_F(SeedTranscript, Consoles) {
  EXPECT_THAT(Mconsole("config con0"), StartsWith("OK fd:0,fd:1"));
  EXPECT_THAT(Mconsole("config con1"), StartsWith("OK fd:0,fd:1"));
  EXPECT_THAT(Mconsole("config con2=pts"), StartsWith("OK"));
  EXPECT_THAT(Mconsole("config con2"), StartsWith("OK pts:/dev/pts/"));
  EXPECT_THAT(Mconsole("config con3"), StartsWith("OK null"));
  EXPECT_THAT(Mconsole("config con3=port:9000"), StartsWith("OK"));
  EXPECT_THAT(Mconsole("config con3"), StartsWith("OK port:9000"));
  Inside("(setsid getty 38400 tty3 &)");
  std::unique_ptr<Running> telnet =
      Running::Start(host_->MakeCommand({"telnet", "localhost", "9000"}), Running::On::kTerminal);
  ASSERT_TRUE(telnet->ReadUntil("login: ")) << telnet->out();
  EXPECT_TRUE(LogIn(*telnet, kPatience)) << telnet->out();
  int exit_code = -1;
  std::string out;
  EXPECT_TRUE(RunAtPrompt(*telnet, "tty", kPatience, &exit_code, &out));
  EXPECT_EQ(out, "/dev/tty3\n");
}

TEST_F(SeedTranscript, SwapIsPluggedAndUsed) {
  ASSERT_TRUE(Ok(host_->Shell("dd if=/dev/zero of=swap bs=1024k seek=64 count=0")));
  EXPECT_THAT(Mconsole("config ubdb=swap"), StartsWith("OK"));
  EXPECT_THAT(Mconsole("config ubdb"), StartsWith("OK " + host_->Work("swap")));
  Inside("mkswap /dev/ubdb && swapon /dev/ubdb");
  EXPECT_THAT(Inside("cat /proc/swaps"), HasSubstr("/dev/ubdb"));
  // More than the machine has memory.
  Inside("mkdir -p /big && mount -t tmpfs -o size=90m none /big");
  Inside("dd if=/dev/zero of=/big/file bs=1024k count=70");
  EXPECT_NE(Inside("awk '$1 == \"/dev/ubdb\" { print $4 }' /proc/swaps"), "0\n");
  // It is in use, so it stays.
  EXPECT_THAT(Mconsole("remove ubdb"), StartsWith("ERR"));
  Inside("umount /big && swapoff /dev/ubdb");
  EXPECT_THAT(Mconsole("remove ubdb"), StartsWith("OK"));
}

TEST_F(SeedTranscript, APartitionedDisk) {
  ASSERT_TRUE(Ok(host_->Shell("dd if=/dev/zero of=partitioned bs=1024k seek=64 count=0")));
  EXPECT_THAT(Mconsole("config ubdc=partitioned"), StartsWith("OK"));
  Inside("printf 'n\\np\\n1\\n\\n+24M\\nn\\np\\n2\\n\\n\\nt\\n1\\n82\\nw\\n' | fdisk /dev/ubdc");
  // The kernel reads the table when the disk is plugged.
  EXPECT_THAT(Mconsole("remove ubdc"), StartsWith("OK"));
  EXPECT_THAT(Mconsole("config ubdc=partitioned"), StartsWith("OK"));
  EXPECT_THAT(Inside("cat /proc/partitions"), testing::AllOf(HasSubstr("ubdc1"), HasSubstr("ubdc2")));
  Inside("mkswap /dev/ubdc1 && swapon /dev/ubdc1 && swapoff /dev/ubdc1");
  Inside("mke2fs /dev/ubdc2 && mkdir -p /data && mount -t ext2 /dev/ubdc2 /data || mount /dev/ubdc2 /data");
  Inside("echo kept > /data/file && umount /data");
  EXPECT_THAT(Mconsole("remove ubdc"), StartsWith("OK"));
  EXPECT_THAT(Mconsole("config ubdc=partitioned"), StartsWith("OK"));
  EXPECT_EQ(Inside("mount /dev/ubdc2 /data && cat /data/file && umount /data"), "kept\n");
}

TEST_F(SeedTranscript, AnArchiveAsADisk) {
  ASSERT_TRUE(Ok(host_->Shell("mkdir etc && echo a line >etc/motd && echo b >etc/other && tar cf etc.tar etc")));
  EXPECT_THAT(Mconsole("config ubdd=etc.tar"), StartsWith("OK"));
  EXPECT_EQ(Inside("cd /tmp && tar xf /dev/ubdd && cat etc/motd etc/other"), "a line\nb\n");
  EXPECT_THAT(Mconsole("remove ubdd"), StartsWith("OK"));
}

TEST_F(SeedTranscript, ANetworkCard) {
  EXPECT_THAT(Mconsole("config eth0=tuntap,tap0,FE:FD:0:0:0:1,192.168.0.254"), StartsWith("OK"));
  Inside("ifconfig eth0 192.168.0.253 up");
  EXPECT_THAT(Inside("ping -c 3 -W 10 192.168.0.254"), HasSubstr(" 0% packet loss"));
  EXPECT_THAT(host_->Shell("busybox ping -c 3 -W 10 192.168.0.253").out, HasSubstr(" 0% packet loss"));
  EXPECT_THAT(Mconsole("config eth0"), StartsWith("OK tuntap,tap0,fe:fd:00:00:00:01,192.168.0.254/24"));
  // Up, it stays; down, it goes, and the tap with it.
  EXPECT_THAT(Mconsole("remove eth0"), StartsWith("ERR"));
  Inside("ifconfig eth0 down");
  EXPECT_THAT(Mconsole("remove eth0"), StartsWith("OK"));
  EXPECT_NE(host_->Shell("ip link show tap0").exit_code, 0);
}

}  // namespace
}  // namespace umld::tests
