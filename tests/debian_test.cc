// The image "debian": built from Debian's mirror, booted under systemd, logged in at its console, named and reached by
// ssh by its seed disk.
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Debian, BuiltBootedSeeded) {
  Host host;
  ASSERT_TRUE(host.Start());
  const CommandResult built =
      host.RunBeside({"image", "build", "debian", "--include", "netcat-openbsd"})->Wait(absl::Minutes(10)) == 0
          ? host.Run({"image", "describe", "debian", "-o", "json"})
          : CommandResult();
  ASSERT_TRUE(Ok(built)) << host.Log();
  const Json image = Json::parse(built.out);
  EXPECT_THAT(image["description"].get<std::string>(), HasSubstr("bookworm"));
  EXPECT_TRUE(Ok(host.Shell("e2fsck -fn " + image["path"].get<std::string>())));

  ASSERT_TRUE(
      Ok(host.Shell("mkdir seed && echo web1.example.org >seed/hostname && ssh-keygen -q -t ed25519 -N '' -f key && "
                    "cp key.pub seed/authorized_keys && truncate -s 1M seed.img && /sbin/mke2fs -q -t ext4 -L "
                    "UMLD-SEED -d seed seed.img")));
  ASSERT_TRUE(Ok(host.Run({"create", "web1", "--image", "debian", "--mem", "256M", "--disk", "ubdbr=seed.img"})));
  ASSERT_TRUE(Ok(host.Run({"start", "web1"})));
  // The first boot makes ssh keys; on a slow machine that takes a while.
  const auto in_guest = [&](const std::string& command) {
    return host.RunInGuest("web1", command, absl::Minutes(5)).out;
  };
  EXPECT_EQ(in_guest("hostname"), "web1.example.org\n");
  EXPECT_THAT(in_guest("systemctl is-system-running --wait"), HasSubstr("running"));
  EXPECT_EQ(in_guest("systemctl --failed --no-legend | wc -l"), "0\n");
  EXPECT_EQ(in_guest("systemctl is-active ssh systemd-networkd umld-seed"), "active\nactive\nactive\n");
  EXPECT_THAT(in_guest("ls /etc/ssh/ssh_host_ed25519_key"), HasSubstr("ssh_host_ed25519_key"));
  EXPECT_THAT(in_guest("cat /root/.ssh/authorized_keys"), HasSubstr("ssh-ed25519"));
  EXPECT_THAT(in_guest("cat /etc/machine-id | wc -c"), HasSubstr("33"));
  EXPECT_THAT(in_guest("echo | nc -w 5 127.0.0.1 22"), HasSubstr("SSH-2.0"));
  EXPECT_TRUE(Ok(host.Run({"stop", "web1"})));
  // What only one machine may have is not in the image.
  const CommandResult keys = host.Shell("debugfs -R 'ls /etc/ssh' " + image["path"].get<std::string>());
  EXPECT_THAT(keys.out, Not(HasSubstr("ssh_host_")));
  host.Finish();
}

}  // namespace
}  // namespace umld::tests
