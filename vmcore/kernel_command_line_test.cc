#include "vmcore/kernel_command_line.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {
namespace {

v1::GuestConfig Config() {
  v1::GuestConfig config;
  config.set_name("web1");
  config.set_kernel("/usr/bin/linux.uml");
  config.set_memory_bytes(64 << 20);
  return config;
}

v1::Disk* AddDisk(v1::GuestConfig* config, uint32_t unit, const std::string& flags, const std::string& path) {
  v1::Disk* disk = config->add_disks();
  disk->set_unit(unit);
  disk->set_flags(flags);
  disk->set_path(path);
  return disk;
}

bool Has(const std::vector<std::string>& argv, const std::string& word) {
  return std::find(argv.begin(), argv.end(), word) != argv.end();
}

TEST(KernelCommandLineTest, AWholeCommandLine) {
  v1::GuestConfig config = Config();
  AddDisk(&config, 0, "", "/srv/web1.cow")->set_backing("/srv/debian.img");
  AddDisk(&config, 1, "r", "/srv/data.img");
  config.add_kernel_args("quiet");
  auto argv = KernelArguments(config);
  ASSERT_TRUE(argv.ok()) << argv.status();
  EXPECT_EQ(*argv, (std::vector<std::string>{
                       "/usr/bin/linux.uml",
                       "mem=64M",
                       "umid=web1",
                       "uml_dir=kernel/uml/",
                       "mconsole=notify:kernel/notify.sock",
                       "con0=fd:0",
                       "con1=fd:3",
                       "con=null",
                       "ssl=null",
                       "noreboot.umld=1",
                       "hostname=web1",
                       "systemd.hostname=web1",
                       "net.ifnames=0",
                       "sysctl.vm.watermark_boost_factor=0",
                       "ubda=/srv/web1.cow,/srv/debian.img",
                       "root=/dev/ubda",
                       "rw",
                       "ubdbr=/srv/data.img",
                       "quiet",
                   }));
}

TEST(KernelCommandLineTest, AReadOnlyRoot) {
  v1::GuestConfig config = Config();
  AddDisk(&config, 0, "r", "/srv/root.img");
  auto argv = KernelArguments(config);
  ASSERT_TRUE(argv.ok());
  EXPECT_TRUE(Has(*argv, "ro"));
  EXPECT_FALSE(Has(*argv, "rw"));
}

TEST(KernelCommandLineTest, ARootOfTheUsersOwn) {
  v1::GuestConfig config = Config();
  AddDisk(&config, 0, "", "/srv/root.img");
  config.add_kernel_args("root=/dev/ubda1");
  auto argv = KernelArguments(config);
  ASSERT_TRUE(argv.ok());
  EXPECT_FALSE(Has(*argv, "root=/dev/ubda"));
  EXPECT_FALSE(Has(*argv, "rw"));
  EXPECT_EQ(argv->back(), "root=/dev/ubda1");
}

TEST(KernelCommandLineTest, NoDiskNoRoot) {
  auto argv = KernelArguments(Config());
  ASSERT_TRUE(argv.ok());
  EXPECT_EQ(argv->back(), "ubda=kernel/ubda");
}

TEST(KernelCommandLineTest, InterfacesWithoutWhatIsOurs) {
  v1::GuestConfig config = Config();
  config.add_nics()->set_spec("eth0=tuntap,tap0,02:00:00:00:00:01,192.168.0.254/24");
  config.add_nics()->set_spec("vec1:transport=tap,ifname=tap1,mac=02:00:00:00:00:02,host=10.0.0.1/8,gro=1");
  auto argv = KernelArguments(config);
  ASSERT_TRUE(argv.ok());
  EXPECT_TRUE(Has(*argv, "eth0=tuntap,tap0,02:00:00:00:00:01"));
  EXPECT_TRUE(Has(*argv, "vec1:transport=tap,ifname=tap1,mac=02:00:00:00:00:02,gro=1"));
  config.add_nics()->set_spec("eth0=daemon");
  EXPECT_EQ(KernelArguments(config).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(KernelCommandLineTest, ALongNameIsCutForTheUmidAlone) {
  v1::GuestConfig config = Config();
  config.set_name(std::string(64, 'n'));
  auto argv = KernelArguments(config);
  ASSERT_TRUE(argv.ok());
  EXPECT_TRUE(Has(*argv, "umid=" + std::string(63, 'n')));
  EXPECT_TRUE(Has(*argv, "hostname=" + std::string(64, 'n')));
  EXPECT_EQ(MconsoleSocketPath(config), "kernel/uml/" + std::string(63, 'n') + "/mconsole");
}

TEST(KernelCommandLineTest, WhatNoKernelCouldStartWith) {
  v1::GuestConfig no_name = Config(), relative = Config(), small = Config(), twice = Config(), bad = Config(),
                  long_line = Config();
  no_name.clear_name();
  relative.set_kernel("linux");
  small.set_memory_bytes(1 << 20);
  AddDisk(&twice, 1, "", "/a");
  AddDisk(&twice, 1, "", "/b");
  AddDisk(&bad, 1, "", "relative");
  for (int i = 0; i < 50; ++i) long_line.add_kernel_args(std::string(100, 'x'));
  for (const v1::GuestConfig& config : {no_name, relative, small, twice, bad, long_line}) {
    EXPECT_EQ(KernelArguments(config).status().code(), absl::StatusCode::kInvalidArgument) << config.name();
  }
}

}  // namespace
}  // namespace umld::vmcore
